"""The production case on the service as it is installed, and with all three protocols."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from support.brokers.production import NAMESPACES, SERVERS, TRIPLES, serve_and_ask
from support.installed_service import SERVICE, Installed, systemctl


def test_tcp_udp_and_sctp_in_50_namespaces(
    installed: Installed, make_namespace: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    """One unprivileged process with one thread holds 400 servers of each over IPv6, and real peers ask all 1,200."""
    systemctl("start", SERVICE)
    names = [make_namespace() for _ in range(NAMESPACES)]
    found = serve_and_ask(installed.socket_path, installed.pid, installed.client_groups, names, list(TRIPLES))
    with capsys.disabled():
        print(f"\n{SERVERS} servers: {found}")
    assert (found.answered, found.client_threads) == (SERVERS, 1)
    assert found.broker_threads <= 3
