"""The broker in a container that systemd runs, as the commands of deploy/docs/containers.md have set it up."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import nsbroker
from support.brokers.limited import can_send, open_limited
from support.brokers.load import Load
from support.far_side import socket_inside
from support.inside import cookie_inside
from support.installed_service import SERVICE, SOCKET, TIMEOUT_S, Installed, command, systemctl, tcp
from support.users import USER
from support.waiting import wait_until

GRANTS = Path("/etc/nsbroker/grants.d")
MORE = GRANTS / "more.toml"
PORT, FORBIDDEN_PORT = 5000, 5001
PAGE = b"HTTP/1.0 200 OK\r\n\r\na page of the namespace"

LIMITED = f"""
[[grant]]
name = "limited"
users = [{USER}]
namespaces = ["*-limited"]
sockets = ["udp"]
limit = {{ connect = ["127.0.0.0/8:{PORT}"] }}
"""


def broker_pid() -> int:
    """The pid of the broker. That of the service is conmon's."""
    return int(command("podman", "inspect", "--format={{.State.Pid}}", "nsbrokerd"))


@contextlib.contextmanager
def took(what: str) -> Iterator[None]:
    """Print how long it took."""
    began = time.monotonic()
    yield
    print(f"{what}: {time.monotonic() - began:.1f} s")


@contextlib.contextmanager
def grants(text: str) -> Iterator[None]:
    """Have further grants in a file. The next reload takes it over."""
    MORE.write_text(text)
    try:
        yield
    finally:
        MORE.unlink()


@contextlib.contextmanager
def page(name: str) -> Iterator[None]:
    """Answer one connection to port 80 of the namespace's loopback."""
    with socket_inside(name, int(socket.AF_INET), int(socket.SOCK_STREAM)) as server:
        server.bind(("127.0.0.1", 80))
        server.listen()

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(PAGE)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield
        thread.join()


def fetch(name: str) -> bytes:
    found = b""
    with nsbroker.Client(timeout=TIMEOUT_S) as client:
        namespace = nsbroker.Namespace(name, client=client)
        with namespace.create_connection(("127.0.0.1", 80), timeout=TIMEOUT_S) as conn:
            conn.sendall(b"GET / HTTP/1.0\r\n\r\n")
            while part := conn.recv(4096):
                found += part
    return found


def test_systemd_finds_nothing_wrong_with_the_unit() -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", f"/run/systemd/generator/{SERVICE}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize(("option", "can_write"), [("apparmor=unconfined", True), ("seccomp=unconfined", False)])
def test_usual_profile_of_apparmor_forbids_to_keep_limits(option: str, can_write: bool) -> None:
    """So the quadlet is without that profile. Another option changes nothing."""
    assert Path("/sys/module/apparmor/parameters/enabled").read_text() == "Y\n"
    line = ["podman", "run", "--rm", "--network=host", f"--security-opt={option}", "--cap-add=SYS_ADMIN"]
    script = "mkdir /sys/fs/bpf/probe && rmdir /sys/fs/bpf/probe"
    line += ["--volume=/sys/fs/bpf:/sys/fs/bpf", "localhost/nsbroker", "sh", "-c", script]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (done.returncode == 0, "Permission denied" in done.stderr) == (can_write, not can_write), done.stderr


def test_first_connection_starts_the_container(installed: Installed, make_namespace: Callable[..., str]) -> None:
    """A user without rights gets sockets in a namespace that was made after the start, and only by a grant."""
    assert (installed.state(SOCKET), installed.state()) == ("active", "inactive")
    with took("the first connection"):
        assert len(installed.open_as_member(tcp("@host"))) == 1
    assert installed.state() == "active"
    name = make_namespace()
    with took("a request"):
        [(_, cookie, _)] = installed.open_as_member(tcp(name))
    assert cookie == cookie_inside(name)
    with page(name):
        assert installed.as_member(fetch, name) == PAGE
    with pytest.raises(nsbroker.AccessDeniedError, match=f"no grant of uid {USER} covers"):
        installed.open_as_member(tcp(make_namespace("closed")))
    assert "healthy: serving" in command("podman", "exec", "nsbrokerd", "nsbrokerd", "health")
    assert {record["uid"] for record in installed.audit()} == {USER}


def test_reload_takes_over_new_grants(installed: Installed, make_namespace: Callable[..., str]) -> None:
    systemctl("start", SERVICE)
    pid, name = broker_pid(), make_namespace("closed")
    with grants(f'[[grant]]\nname = "more"\nusers = [{USER}]\nnamespaces = ["*-closed"]\nsockets = ["tcp"]\n'):
        with took("a reload"):
            systemctl("reload", SERVICE)
        assert len(installed.open_as_member(tcp(name))) == 1
    systemctl("reload", SERVICE)
    with pytest.raises(nsbroker.AccessDeniedError):
        installed.open_as_member(tcp(name))
    assert broker_pid() == pid


def test_reload_with_a_mistake_fails_and_keeps_the_grants(installed: Installed) -> None:
    systemctl("start", SERVICE)
    with grants("[[grant]]\nnaem = 1\n"):
        with pytest.raises(AssertionError, match=r"Job for nsbrokerd\.service failed"):
            systemctl("reload", SERVICE)
        assert len(installed.open_as_member(tcp("@host"))) == 1
    command("journalctl", "--sync")
    lines = command("journalctl", "--unit", SERVICE, "--output=cat", "--no-pager", "--lines=30")
    assert "nsbrokerd: not reloaded: what was in force before stays in force" in lines
    systemctl("reload", SERVICE)
    assert installed.state() == "active"


def test_limits_outlive_the_service(installed: Installed, make_namespace: Callable[..., str]) -> None:
    """It ends long before systemd would kill it."""
    name = make_namespace("limited")
    with grants(LIMITED):
        systemctl("start", SERVICE)
        systemctl("reload", SERVICE)
        with open_limited(installed, name) as sock:
            assert [can_send(sock, PORT), can_send(sock, FORBIDDEN_PORT)] == [True, False]
            with took("a stop"):
                systemctl("stop", SERVICE)
            assert systemctl("show", "--property=Result", "--value", SERVICE) == "success"
            assert [can_send(sock, PORT), can_send(sock, FORBIDDEN_PORT)] == [True, False]
            MORE.write_text(LIMITED.replace(str(PORT), str(FORBIDDEN_PORT)))
            assert len(installed.open_as_member(tcp("@host"))) == 1
            assert [can_send(sock, PORT), can_send(sock, FORBIDDEN_PORT)] == [False, True]
            assert "1 socket revoked" in command(
                "podman", "exec", "nsbrokerd", "nsbrokerd", "revoke", "--namespace", name
            )
            assert [can_send(sock, PORT), can_send(sock, FORBIDDEN_PORT)] == [False, False]
    systemctl("reload", SERVICE)


def test_clients_under_load_notice_nothing(installed: Installed, make_namespace: Callable[..., str]) -> None:
    """Restart, kill -9 of the broker, and a stop that the next client undoes: every call succeeds."""
    systemctl("start", SERVICE)
    cookies = {name: cookie_inside(name) for name in [make_namespace() for _ in range(2)]}
    events: list[tuple[str, Callable[[], Any]]] = [
        ("restart", lambda: systemctl("restart", SERVICE)),
        ("kill -9", lambda: os.kill(broker_pid(), signal.SIGKILL)),
        ("stop", lambda: systemctl("stop", SERVICE)),
    ]
    with Load(installed, cookies, processes=1, threads=1, timeout_s=2 * TIMEOUT_S) as load:
        for what, event in events:
            before = load.calls()
            wait_until(lambda before=before: load.calls() >= before + 3 or load.failed(), 2 * TIMEOUT_S)
            wait_until(lambda: installed.state() == "active" or load.failed(), 2 * TIMEOUT_S)
            with took(f"{what}, until clients are served"):
                event()
                before = load.calls()
                wait_until(lambda before=before: load.calls() >= before + 3 or load.failed(), 2 * TIMEOUT_S)
        assert load.stop().arrived > 20
    assert installed.state(SOCKET) == "active"
