"""Limits that the installed service puts on sockets: by its unit, in its sandbox, on Debian's kernel."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.brokers.limited import LOOPBACK, can_connect, can_send, error_of, open_limited, plain_socket
from support.far_side import socket_inside
from support.inside import socket_cookie
from support.installed_service import SERVICE, Installed, command, run_in_sandbox, systemctl
from support.users import USER, as_unprivileged
from support.waiting import wait_until

PORT, FORBIDDEN_PORT, LOW_PORT = 5000, 5001, 80
GRANTS = Path("/etc/nsbroker/grants.d/limited.toml")
GROUP = Path("/sys/fs/cgroup/system.slice") / SERVICE
SEALED = GROUP / "nsbrokerd" / "sealed"
PINS = Path("/sys/fs/bpf/nsbrokerd")
NSBROKERD = "/opt/nsbroker/bin/nsbrokerd"

LIMITED = f"""
[[grant]]
name = "limited"
users = [{USER}]
namespaces = ["*-limited"]
sockets = ["tcp", "udp", "sctp"]
limit = {{ connect = ["127.0.0.0/8:{PORT}"], bind = ["*:{LOW_PORT}", "*:{PORT}"] }}
"""


@pytest.fixture(scope="module")
def service(installed: Installed) -> Iterator[Installed]:
    """The service, which gets its first limits while it runs. The grant "tests" leaves their namespaces out."""
    systemctl("start", SERVICE)
    GRANTS.write_text(LIMITED)
    try:
        systemctl("reload", SERVICE)
        wait_until(lambda: SEALED.exists() and (SEALED / "cgroup.threads").read_text() != "")
        yield installed
    finally:
        GRANTS.unlink()
        systemctl("reload", SERVICE)


@pytest.fixture
def name(make_namespace: Callable[..., str]) -> str:
    return make_namespace("limited")


def decisions(udp: socket.socket, tcp: socket.socket) -> list[bool]:
    """Whether each of them can go to the one port, and to the other."""
    return [can(sock, port) for can, sock in ((can_send, udp), (can_connect, tcp)) for port in (PORT, FORBIDDEN_PORT)]


def test_check_in_the_sandbox_says_that_limits_can_be_enforced(service: Installed) -> None:
    """It tries all of it there: maps, programs, a control group, a socket in it."""
    said = run_in_sandbox(f"{NSBROKERD} check")
    assert "limits: this host can enforce them" in said
    assert "limits: by both walls" in said


def test_both_walls_hold(service: Installed, name: str) -> None:
    """The second one, too, by the unit's rights and in its sandbox. It outlives the service."""
    assert {path.name for path in PINS.glob("hook_*")} >= {"hook_socket_listen", "hook_socket_accept"}
    with open_limited(service, name, socket.SOCK_STREAM) as tcp:
        tcp.bind((LOOPBACK, PORT))
        assert "1 socket revoked" in command(NSBROKERD, "revoke", "--namespace", name)
        assert error_of(tcp.listen) == "EPERM"
        service_pid = service.pid
        os.kill(service_pid, signal.SIGKILL)
        assert error_of(tcp.listen) == "EPERM"
        systemctl("start", SERVICE)
        wait_until(lambda: service.pid not in (0, service_pid) and service.state() == "active")
        assert error_of(tcp.listen) == "EPERM"


def test_hooks_for_each_packet_stand_only_while_a_socket_that_needs_them_is_revoked(
    service: Installed, name: str
) -> None:
    """The command attaches them, and the service removes them at the next reload without such a socket."""
    hooks = {PINS / "hook_socket_sendmsg", PINS / "hook_socket_recvmsg"}
    with open_limited(service, name, socket.SOCK_STREAM, protocol=socket.IPPROTO_SCTP) as sock:
        assert error_of(sock.connect, (LOOPBACK, FORBIDDEN_PORT)) == "EPERM"
        sock.listen()  # from then on, it can accept sockets that the first wall does not see
        assert not any(hook.exists() for hook in hooks)
        assert "1 socket revoked" in command(NSBROKERD, "revoke", "--namespace", name)
        systemctl("reload", SERVICE)
        assert all(hook.exists() for hook in hooks)

    def are_gone() -> bool:
        systemctl("reload", SERVICE)
        return not any(hook.exists() for hook in hooks)

    wait_until(are_gone)


def test_one_thread_of_the_service_is_in_a_group_below_that_of_its_unit(service: Installed) -> None:
    assert (SEALED / "cgroup.type").read_text() == "threaded\n"
    [thread] = (SEALED / "cgroup.threads").read_text().split()
    assert thread in os.listdir(f"/proc/{service.pid}/task")
    assert int(thread) != service.pid


def test_socket_goes_where_its_limit_says_and_nowhere_else(service: Installed, name: str) -> None:
    """Allowed packets arrive and are answered. Others get EPERM at once."""
    with (
        plain_socket(name, socket.SOCK_DGRAM, PORT) as datagrams,
        plain_socket(name, socket.SOCK_STREAM, PORT) as listener,
        open_limited(service, name) as udp,
        open_limited(service, name, socket.SOCK_STREAM) as tcp,
    ):
        assert [error_of(sock.connect, (LOOPBACK, FORBIDDEN_PORT)) for sock in (udp, tcp)] == ["EPERM"] * 2
        assert as_unprivileged(error_of, udp.sendto, b"x", (LOOPBACK, FORBIDDEN_PORT)) == "EPERM"
        udp.sendto(b"there", (LOOPBACK, PORT))
        data, address = datagrams.recvfrom(10)
        datagrams.sendto(b"back", address)
        assert (data, udp.recv(10)) == (b"there", b"back")
        tcp.connect((LOOPBACK, PORT))
        with listener.accept()[0] as peer:
            tcp.sendall(b"there")
            peer.sendall(b"back")
            assert (peer.recv(10), tcp.recv(10)) == (b"there", b"back")


def crash(service: Installed) -> None:
    os.kill(service.pid, signal.SIGKILL)


def stop(_: Installed) -> None:
    systemctl("stop", SERVICE)
    assert not GROUP.exists()


def restart(_: Installed) -> None:
    systemctl("restart", SERVICE)


@pytest.mark.parametrize("end", [restart, crash, stop])
def test_limits_outlive_the_service(end: Callable[[Installed], None], service: Installed, name: str) -> None:
    """And when it runs again, it has taken them over: a reload changes them."""
    with open_limited(service, name) as udp, open_limited(service, name, socket.SOCK_STREAM) as tcp:
        pid = service.pid
        end(service)
        assert decisions(udp, tcp) == [True, False] * 2
        systemctl("start", SERVICE)
        wait_until(lambda: service.pid not in (0, pid) and service.state() == "active")
        assert decisions(udp, tcp) == [True, False] * 2
        GRANTS.write_text(LIMITED.replace(f"/8:{PORT}", f"/8:{FORBIDDEN_PORT}"))
        try:
            systemctl("reload", SERVICE)
            # systemd 252 may not wait for the end of a reload.
            wait_until(lambda: decisions(udp, tcp) == [False, True] * 2)
        finally:
            GRANTS.write_text(LIMITED)
            systemctl("reload", SERVICE)
        wait_until(lambda: decisions(udp, tcp) == [True, False] * 2)


def test_root_lists_sockets_and_takes_them_back(service: Installed, name: str) -> None:
    """From outside of the unit, whether the service runs or not."""
    with open_limited(service, name) as first, open_limited(service, name) as second:
        assert revoked(name) == {socket_cookie(first): False, socket_cookie(second): False}
        assert "1 socket revoked" in command(NSBROKERD, "revoke", "--cookie", str(socket_cookie(first)))
        assert [can_send(first, PORT), can_send(second, PORT)] == [False, True]
        systemctl("stop", SERVICE)
        assert revoked(name) == {socket_cookie(first): True, socket_cookie(second): False}
        assert "1 socket revoked" in command(NSBROKERD, "revoke", "--user", str(USER))
        systemctl("start", SERVICE)
        assert [can_send(first, PORT), can_send(second, PORT)] == [False, False]


def test_connections_that_are_taken_back_end_at_once(service: Installed, name: str) -> None:
    with (
        plain_socket(name, socket.SOCK_STREAM, PORT) as listener,
        open_limited(service, name, socket.SOCK_STREAM) as tcp,
    ):
        tcp.connect((LOOPBACK, PORT))
        with listener.accept()[0] as peer:
            assert "1 TCP socket ended" in command(NSBROKERD, "revoke", "--grant", "limited")
            assert [error_of(sock.recv, 1) for sock in (tcp, peer)] == ["ECONNABORTED", "ECONNRESET"]


def revoked(name: str) -> dict[int, bool]:
    """All sockets of the namespace that root is told of, and whether they were taken back."""
    rows: list[dict[str, Any]] = json.loads(command(NSBROKERD, "sockets", "--json"))
    return {row["cookie"]: row["revoked"] for row in rows if row["namespace"] == name}


def test_client_itself_binds_a_low_port_that_its_limit_lists(service: Installed, name: str) -> None:
    """Without any capability. A socket without a limit can't be bound there by it."""
    with (
        open_limited(service, name, socket.SOCK_STREAM) as tcp,
        socket_inside(name, int(socket.AF_INET), int(socket.SOCK_STREAM)) as free,
    ):
        assert as_unprivileged(error_of, free.bind, (LOOPBACK, LOW_PORT)) == "EACCES"
        assert as_unprivileged(error_of, tcp.bind, (LOOPBACK, LOW_PORT + 1)) == "EPERM"
        assert as_unprivileged(error_of, tcp.bind, (LOOPBACK, LOW_PORT)) is None
        assert tcp.getsockname() == (LOOPBACK, LOW_PORT)


def test_limit_that_can_not_be_enforced_is_refused(service: Installed) -> None:
    """Both the check and a reload give the reason, and the reload keeps the old configuration."""
    systemctl("start", SERVICE)
    reason = "packet sockets can't be limited: they do not use IP addresses"
    GRANTS.write_text(LIMITED.replace('"udp"', '"packet"'))
    try:
        done = subprocess.run([NSBROKERD, "check"], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert reason in done.stdout + done.stderr
        assert subprocess.run(["systemctl", "reload", SERVICE], capture_output=True, check=False).returncode != 0
        wait_until(lambda: any("reload failed" in line and reason in line for line in last_lines()))
    finally:
        GRANTS.write_text(LIMITED)
        systemctl("reload", SERVICE)


def last_lines() -> list[str]:
    command("journalctl", "--sync")
    return command("journalctl", "--unit", SERVICE, "--output=cat", "--no-pager", "--lines=20").splitlines()
