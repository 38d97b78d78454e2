"""Restart, reload, stop and crash of the service, while clients use it."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

import nsbroker
from support.brokers.load import Load
from support.inside import cookie_inside
from support.installed_service import SERVICE, SOCKET, SOCKET_PATH, TIMEOUT_S, Installed, command, systemctl, tcp
from support.users import GROUP, USER, start_as_user
from support.waiting import Counters, wait_until

GRANTS = Path("/etc/nsbroker/grants.d/more.toml")


def test_clients_under_load_notice_nothing(installed: Installed, make_namespace: Callable[..., str]) -> None:
    """Restart, reload, kill -9, and a stop that the next client undoes: every call succeeds, in the right namespace.

    Every socket that arrived is in the journal, which drops lines of other units after 200 in a minute.
    """
    systemctl("start", SERVICE)
    cookies = {name: cookie_inside(name) for name in [make_namespace() for _ in range(3)]}

    def crash() -> None:
        os.kill(installed.pid, signal.SIGKILL)

    events: list[Callable[[], object]] = [
        lambda: systemctl("restart", SERVICE),
        crash,
        lambda: systemctl("reload", SERVICE),
        crash,
        lambda: systemctl("stop", SERVICE),
        lambda: systemctl("restart", SERVICE),
    ]
    with Load(installed, cookies, processes=2, threads=1) as load:
        for event in events:
            before = load.calls()
            wait_until(lambda before=before: load.calls() >= before + 3 or load.failed())
            wait_until(lambda: installed.pid != 0 or load.failed())
            event()
        before = load.calls()
        wait_until(lambda: load.calls() >= before + 3 or load.failed())
        assert load.stop().arrived > 200


def test_journal_drops_lines_of_other_units() -> None:
    """The limit that the broker's audit is free of is in force here."""
    command("systemd-run", "--wait", "--unit=chatty", "/bin/sh", "-c", "seq 1000")
    command("journalctl", "--sync")
    lines = command("journalctl", "--unit=chatty", "--output=cat", "--no-pager").splitlines()
    assert "1" in lines
    assert "1000" not in lines


def test_broker_that_ends_again_and_again_is_started_again(installed: Installed) -> None:
    """More often than systemd's own limit of five in ten seconds."""
    for _ in range(7):
        systemctl("start", SERVICE)
        pid = installed.pid
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda pid=pid: installed.pid not in (0, pid))
    assert installed.state(SOCKET) == "active"
    assert len(installed.open_as_member(tcp("@host"))) == 1


def test_reload_takes_over_new_grants(installed: Installed) -> None:
    systemctl("start", SERVICE)
    pid = installed.pid
    with pytest.raises(nsbroker.AccessDeniedError):
        installed.open_as_member(tcp("@host")._replace(proto=262))
    GRANTS.write_text('[[grant]]\nname = "more"\nusers = ["*"]\nnamespaces = ["@host"]\nsockets = ["mptcp"]\n')
    try:
        systemctl("reload", SERVICE)
        assert len(installed.open_as_member(tcp("@host")._replace(proto=262))) == 1
    finally:
        GRANTS.unlink()
    systemctl("reload", SERVICE)
    with pytest.raises(nsbroker.AccessDeniedError):
        installed.open_as_member(tcp("@host")._replace(proto=262))
    assert installed.pid == pid


def test_reload_with_a_mistake_keeps_the_grants(installed: Installed) -> None:
    """The journal has the reason."""
    systemctl("start", SERVICE)
    GRANTS.write_text("[[grant]]\nnaem = 1\n")
    try:
        systemctl("reload", SERVICE)
        assert len(installed.open_as_member(tcp("@host"))) == 1
    finally:
        GRANTS.unlink()
    command("journalctl", "--sync")
    assert "reload failed" in command("journalctl", "--unit", SERVICE, "--output=cat", "--no-pager", "--lines=20")


def test_sockets_outlive_the_service(installed: Installed) -> None:
    """After a stop of service and socket, clients can't connect, sockets go on, and a start brings everything back."""
    systemctl("start", SERVICE)
    phase = Counters(2)
    client = start_as_user(USER, GROUP, talk_without_broker, phase, groups=installed.client_groups)
    wait_until(lambda: phase[0] == 1)
    systemctl("stop", SERVICE, SOCKET)
    assert not SOCKET_PATH.exists()
    with pytest.raises(nsbroker.BrokerUnavailableError):
        installed.open_as_member(tcp("@host"))
    phase[1] = 1
    client.result()
    systemctl("start", SOCKET)
    assert len(installed.open_as_member(tcp("@host"))) == 1


def talk_without_broker(phase: Counters) -> None:
    with nsbroker.Client(timeout=TIMEOUT_S) as client:
        (server,) = client.open([tcp("@host", "127.0.0.1", 0)])
    phase[0] = 1
    wait_until(lambda: phase[1] == 1)
    with server, socket.create_connection(server.getsockname()) as there:
        here, _ = server.accept()
        with here:
            here.sendall(b"x")
            assert there.recv(1) == b"x"
