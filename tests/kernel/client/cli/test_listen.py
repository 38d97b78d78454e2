"""`nsbroker-get NS listen`, as an unprivileged user: which sockets a program gets, and how it learns of them."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.brokers.process import BrokerProcess
from support.inside import call_inside, cookie_inside
from support.namespaces import PREFIX
from support.tool.running import RunTool, program, python, run_tool
from support.users import OTHER_USER, USER
from support.waiting import LIMIT_S, wait_until

SHOW = """
import json, os, socket, sys
socks = [socket.socket(fileno=int(arg)) for arg in sys.argv[1:]]
print(json.dumps({
    "socks": [f"{int(s.family)} {int(s.type)} {s.getsockname()[:2]} {s.getsockopt(1, socket.SO_ACCEPTCONN)}" for s in socks],
    "netns": list({int.from_bytes(s.getsockopt(1, 71, 8), "little") for s in socks}),
    "blocking": [os.get_blocking(s.fileno()) for s in socks],
    "variables": {key: os.environ[key] for key in os.environ if key[:6] in ("LISTEN", "REMOTE", "NGINX")},
    "pid": os.getpid(),
}), file=sys.stderr)
"""  # noqa: E501  # one line for each key


@pytest.fixture
def name(make_namespace: Callable[..., str]) -> str:
    return make_namespace("listen")


@pytest.fixture
def run(shared_broker: BrokerProcess) -> Iterator[RunTool]:
    with run_tool(shared_broker) as tool:
        yield tool


def show(run: RunTool, *args: str, fds: list[int]) -> dict[str, Any]:
    """Return the program's view. The caller pretends that it got sockets itself."""

    def be_activated() -> None:
        stale = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "9", "LISTEN_FDNAMES": "x", "LISTEN_PIDFDID": "1"}
        os.environ.update(stale, REMOTE_ADDR="192.0.2.1", REMOTE_PORT="9")

    places = [str(fd) for fd in fds]
    done = run.start(*args, "--", python(), "-c", SHOW, *places, before=be_activated).finish()
    assert (done.status, done.out) == (0, ""), done
    shown: dict[str, Any] = json.loads(done.err)
    return shown


def test_sockets_of_all_kinds_are_in_the_namespace(run: RunTool, name: str) -> None:
    """IPv4 and IPv6 on the same low port, TCP and UDP, and abstract Unix names. Each has a name."""
    endpoints = ["-l", "80", "-l", "[::]:80", "-l", "127.0.0.1:53/udp", "-l", "[::1]:53/udp", "-l", "@nsbt"]
    names = ["--fdname=web", "--fdname=web6", "--fdname=dns", "--fdname=dns6", "--fdname=local"]
    shown = show(run, name, "listen", *endpoints, *names, fds=[3, 4, 5, 6, 7])
    assert shown["socks"] == [
        "2 1 ('0.0.0.0', 80) 1",
        "10 1 ('::', 80) 1",
        "2 2 ('127.0.0.1', 53) 0",
        "10 2 ('::1', 53) 0",
        "1 1 b'\\x00n' 1",
    ]
    assert shown["netns"] == [cookie_inside(name)]
    assert shown["blocking"] == [True] * 5
    variables = {"LISTEN_FDS": "5", "LISTEN_PID": str(shown["pid"]), "LISTEN_FDNAMES": "web:web6:dns:dns6:local"}
    assert shown["variables"] == variables


def test_datagrams_for_all(run: RunTool, name: str) -> None:
    shown = show(run, name, "listen", "-u", "-l", "5000", "-l", "@nsbt", fds=[3, 4])
    assert [line[:3] for line in shown["socks"]] == ["2 2", "1 2"]
    assert show(run, name, "listen", "-p", "udp", "-l", "5000", fds=[3])["socks"][0][:3] == "2 2"


def test_inetd_has_the_listener_as_standard_input_and_output(run: RunTool, name: str) -> None:
    """It gets only these: standard error is kept, and no variable mentions other sockets, not even the caller's."""
    shown = show(run, name, "listen", "--inetd", "-l", "80", fds=[0, 1])
    assert shown["socks"] == ["2 1 ('0.0.0.0', 80) 1"] * 2
    assert shown["netns"] == [cookie_inside(name)]
    assert shown["variables"] == {}


def test_nginx_variable_and_listeners_that_never_block(run: RunTool, name: str) -> None:
    """Its workers all wait for the same listener: those that come too late must not be stuck in accept(2)."""
    shown = show(run, name, "listen", "--nginx", "-l", "80", "-l", "[::]:80", fds=[3, 4])
    assert shown["variables"] == {"NGINX": "3;4;"}
    assert shown["blocking"] == [False, False]


def test_abstract_socket_is_the_users_own_and_of_the_namespace(run: RunTool, name: str) -> None:
    """A peer sees the user, not root. Outside the namespace, the name does not exist."""
    server = run.start(name, "listen", "-l", "@nsbt", "--", python(), "-c", "import time; time.sleep(1000)")
    wait_until(lambda: call_inside(name, _peer_uid) is not None)
    assert call_inside(name, _peer_uid) == USER
    assert _peer_uid() is None
    server.send(15)
    assert server.finish().status == -15


def _peer_uid() -> int | None:
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect("\0nsbt")
        except ConnectionRefusedError:
            return None
        return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[4:8], "little")


@pytest.mark.parametrize("place", ["before", "after"])
def test_namespace_that_comes_later_is_waited_for(
    run: RunTool, shared_broker: BrokerProcess, make_namespace: Callable[..., str], place: str
) -> None:
    """The option stands before the namespace, or after the verb."""
    late = f"{PREFIX}late"
    wait = ["--wait", "60"]
    args = [*wait, late, "listen"] if place == "before" else [late, "listen", *wait]
    code = "import socket; print(int.from_bytes(socket.socket(fileno=3).getsockopt(1, 71, 8), 'little'))"
    server = run.start(*args, "-l", "80", "--", python(), "-c", code)
    wait_until(shared_broker.has_a_waiting_request)
    make_namespace("late")
    assert server.finish() == (0, f"{cookie_inside(late)}\n", "")


LITTLE = """
[[grant]]
name = "little"
users = [{USER}]
namespaces = ["{name}"]
sockets = ["tcp"]
bind = ["*:80"]
"""


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["-l", "81"], "port 81 of 0.0.0.0 is not in the bind list of grant 'little'"),
        (["-l", "8080/udp"], "grant 'little' allows no udp sockets in namespace '{name}'"),
        (["-l", "@nsbt"], "grant 'little' allows no unix sockets in namespace '{name}'"),
        (["-l", "192.0.2.1:80"], "-l 192.0.2.1:80: Cannot assign requested address: no interface of"),
        (
            ["-l", "80", "-l", "127.0.0.1:80"],
            "-l 127.0.0.1:80: Address already in use: another socket of",
        ),
        (
            ["-l", "[fe80::1%99]:80"],
            "-l [fe80::1%99]:80: No such device: the namespace has no such interface",
        ),
        (["-l", "[fe80::1%lo]:80"], "-l [fe80::1%lo]:80: Cannot assign requested address: no interface of"),
        (["-l", "www.example.org:80"], "-l www.example.org:80: Temporary failure in name resolution"),
    ],
)
def test_refusal_is_one_line_that_says_what_to_do(
    start_broker: Callable[..., BrokerProcess], name: str, args: list[str], says: str
) -> None:
    """And the program is not run."""
    with run_tool(start_broker(LITTLE.format(name=name, USER=USER))) as run:
        done = run(name, "listen", *args, "--", "sh", "-c", "echo it runs")
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith(f"nsbroker-get: {says.format(name=name)}"), done.err
    assert done.err.count("\n") == 1


def test_namespace_that_does_not_come_is_one_line(run: RunTool) -> None:
    for wait in ("0", "0.01"):
        done = run(f"{PREFIX}never", "listen", "--wait", wait, "-l", "80", "--", "true")
        assert (done.status, done.out) == (1, "")
        assert done.err.startswith("nsbroker-get: "), done.err
        assert f"{PREFIX}never" in done.err
        assert done.err.count("\n") == 1


def test_user_who_may_not_use_the_broker_is_told_what_is_missing(run: RunTool, name: str) -> None:
    done = run(name, "listen", "-l", "80", "--", "true", uid=OTHER_USER)
    assert done.status == 125
    assert "this user must be in the group nogroup" in done.err
    assert done.err.count("\n") == 1


def test_socat_serves_connections_of_any_family(run: RunTool, name: str) -> None:
    """Only its latest versions take a listener, but all of them take a connection."""
    endpoints = ["-l", "127.0.0.1:7", "-l", "[::1]:7", "-l", "@nsbt"]
    server = run.start(name, "listen", "--accept", *endpoints, "--", program("socat"), "FD:3", "EXEC:cat")
    for family, address in (
        (socket.AF_INET, ("127.0.0.1", 7)),
        (socket.AF_INET6, ("::1", 7)),
        (socket.AF_UNIX, "\0nsbt"),
    ):
        assert call_inside(name, _echo, family, address) == b"to and fro"
    server.send(15)
    assert server.finish() == (0, "", "")


def _echo(family: int, address: Any) -> bytes:
    with socket.socket(family) as sock:
        wait_until(lambda: sock.connect_ex(address) == 0)
        sock.sendall(b"to and fro")
        sock.shutdown(socket.SHUT_WR)
        return sock.makefile("rb").read()


ANSWER = """
import socket
sock = socket.socket(fileno=0)
question, peer = sock.recvfrom(100)
sock.sendto(b"answer to " + question, peer)
"""


def test_datagram_server_answers(run: RunTool, name: str) -> None:
    """As inetd's `dgram wait` has it: the socket itself is standard input."""
    server = run.start(name, "listen", "-l", "[::1]:53/udp", "--inetd", "--", python(), "-c", ANSWER)
    assert call_inside(name, _ask) == b"answer to a question"
    assert server.finish() == (0, "", "")


def _ask() -> bytes:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        _send_when_bound(sock, ("::1", 53), b"a question")
        sock.settimeout(LIMIT_S)
        return sock.recv(100)


@pytest.mark.parametrize("way", [["-u", "-l", "127.0.0.1:69"], ["-l", "[::1]:69/udp"]], ids=["IPv4", "IPv6"])
def test_socat_reads_datagrams(run: RunTool, name: str, way: list[str]) -> None:
    server = run.start(name, "listen", *way, "--", program("socat"), "-u", "FD:3", "STDOUT")
    family, host = (socket.AF_INET, "127.0.0.1") if "-u" in way else (socket.AF_INET6, "::1")
    call_inside(name, _send_a_datagram, family, (host, 69))
    assert server.read_until("\n") == "a datagram\n"
    server.send(15)
    server.finish()


def _send_a_datagram(family: int, address: tuple[str, int]) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        _send_when_bound(sock, address, b"a datagram\n")


def _send_when_bound(sock: socket.socket, address: tuple[str, int], data: bytes) -> None:
    table = Path("/proc/thread-self/net/udp" if sock.family == socket.AF_INET else "/proc/thread-self/net/udp6")
    wait_until(lambda: f":{address[1]:04X} " in table.read_text())
    sock.sendto(data, address)
