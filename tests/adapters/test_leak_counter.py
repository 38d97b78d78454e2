"""The trap itself sees packets in a program's own namespace. Otherwise the other tests here would prove little."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Callable

import pytest

from support.adapters.example_org import HOST, SERVER, ExampleOrg
from support.adapters.outside import ADDRESS, LEAK_PORT, LeakError


def look_up(_: str) -> None:
    assert socket.getaddrinfo(HOST, 80)[0][4][0] == ADDRESS


def look_up_nothing(_: str) -> None:
    with pytest.raises(OSError, match=r"refused|unreachable|timed out"):
        socket.create_connection((SERVER, 80), timeout=0.01)


def send_datagram(_: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"", (SERVER, 53))


def connect_to_own_listener(_: str) -> None:
    socket.create_connection(("127.0.0.1", LEAK_PORT), timeout=5).close()


def use_environments_proxy(_: str) -> None:
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen("http://10.98.0.1/", timeout=1)


@pytest.mark.parametrize(
    "leak", [look_up, look_up_nothing, send_datagram, connect_to_own_listener, use_environments_proxy]
)
def test_leak_is_seen(site: ExampleOrg, leak: Callable[[str], None]) -> None:
    """A look-up, a connection, a datagram, or a connection to the environment's proxy: each is counted."""
    with pytest.raises(LeakError):
        site.run(leak)


def test_nothing_is_seen_where_nothing_leaks(site: ExampleOrg) -> None:
    """The place outside is silent by itself."""
    site.run(str)
