"""Restart, reload, stop and crash of the service, while clients use it."""

from __future__ import annotations

import grp
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

import nsbroker
from nsbrokerd.control.asking import RefusedError, UnreachableError, ask
from nsbrokerd.control.packets import RELOAD, STATUS, Request
from support.brokers.load import Load
from support.inside import cookie_inside
from support.installed_service import SERVICE, SOCKET, SOCKET_PATH, TIMEOUT_S, Installed, command, systemctl, tcp
from support.users import GROUP, USER, as_user, start_as_user
from support.waiting import Counters, wait_until

NSBROKERD = "/opt/nsbroker/bin/nsbrokerd"
CONTROL_PATH = "/run/nsbroker/control.sock"
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
            # A service that still starts has a pid, but systemd refuses to reload it.
            wait_until(lambda: installed.state() == "active" or load.failed())
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


def test_reload_with_a_mistake_fails_and_keeps_the_grants(installed: Installed) -> None:
    """The journal has the reason, from the broker and from systemctl's own command. A later reload succeeds."""
    systemctl("start", SERVICE)
    pid = installed.pid
    GRANTS.write_text("[[grant]]\nnaem = 1\n")
    try:
        with pytest.raises(AssertionError, match=r"Job for nsbrokerd\.service failed"):
            systemctl("reload", SERVICE)
        assert len(installed.open_as_member(tcp("@host"))) == 1
        assert "the last reload: failed" in systemctl("show", "--property=StatusText", SERVICE)
        with pytest.raises(AssertionError, match="not healthy: the last reload: failed"):
            command(NSBROKERD, "health")
    finally:
        GRANTS.unlink()
    command("journalctl", "--sync")
    lines = command("journalctl", "--unit", SERVICE, "--output=cat", "--no-pager", "--lines=20")
    assert "reload failed" in lines
    assert "nsbrokerd: not reloaded: what was in force before stays in force" in lines
    systemctl("reload", SERVICE)
    assert (installed.state(), installed.pid) == ("active", pid)
    assert command(NSBROKERD, "health").startswith("healthy: ")


def test_group_of_the_status_reads_it_and_reloads_nothing(installed: Installed) -> None:
    """The socket unit passes the control socket, and systemd keeps it over a restart."""
    systemctl("start", SERVICE)
    groups = [grp.getgrnam("nsbroker-status").gr_gid]
    for _ in range(2):
        status = as_user(USER, GROUP, ask, CONTROL_PATH, Request(STATUS), TIMEOUT_S, groups=groups)
        assert status["pid"] == installed.pid
        systemctl("restart", SERVICE)
    with pytest.raises(RefusedError, match="only root may ask"):
        as_user(USER, GROUP, ask, CONTROL_PATH, Request(RELOAD), TIMEOUT_S, groups=groups)
    with pytest.raises(UnreachableError, match="no permission"):
        as_user(USER, GROUP, ask, CONTROL_PATH, Request(STATUS), TIMEOUT_S, groups=installed.client_groups)


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
