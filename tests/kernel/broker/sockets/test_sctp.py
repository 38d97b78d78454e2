"""SCTP through the broker: one-to-one, one-to-many, multi-homed, and in event loops. Kernels without SCTP skip it."""

from __future__ import annotations

import asyncio
import errno
import selectors
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio

import nsbroker
from nsbroker import SocketSpec
from support import sctp
from support.brokers.process import EVERYTHING, BrokerProcess, running
from support.inside import call_inside
from support.namespaces import PREFIX, ip, why_not
from support.process_state import thread_count
from support.tool.running import python, run_tool
from support.users import GROUP, USER, as_unprivileged, start_as_user
from support.waiting import wait_until

needs_sctp = pytest.mark.skipif(sctp.why_not() is not None, reason=str(sctp.why_not()))

STREAM, SEQPACKET, SCTP = int(socket.SOCK_STREAM), int(socket.SOCK_SEQPACKET), int(socket.IPPROTO_SCTP)
V4, V6 = int(socket.AF_INET), int(socket.AF_INET6)
LOOPBACK = {V4: ("127.0.0.1", 0), V6: ("::1", 0, 0, 0)}
TIMEOUT_S = 60
PORT = 5000

GRANTS = f"""
[[grant]]
name = "signalling"
users = ["*"]
namespaces = ["{PREFIX}*"]
sockets = ["sctp"]
bind = ["10.0.0.0/24:*"]
"""


@pytest.fixture(scope="module")
def shared_broker() -> Iterator[BrokerProcess]:
    """One for all tests here: to start one takes seconds under emulation."""
    if reason := why_not():
        pytest.skip(reason)
    with running(EVERYTHING) as started:
        yield started


@pytest.fixture
def broker(shared_broker: BrokerProcess) -> Iterator[BrokerProcess]:
    """The broker, with the same grants at the start of each test."""
    yield shared_broker
    shared_broker.configure(EVERYTHING)
    shared_broker.reload()


def open_one(broker: str, spec: SocketSpec) -> socket.socket:
    with nsbroker.Client(broker) as client:
        (sock,) = client.open([spec])
    sock.settimeout(TIMEOUT_S)
    return sock


def listener(namespace: str, kind: int, *addresses: Any, options: tuple[Any, ...] = ()) -> SocketSpec:
    first, *also = addresses
    family = V6 if len(first) == 4 else V4
    return SocketSpec(namespace, family, kind, SCTP, first, 16, options, tuple(also))


def ask(kind: int, address: Any) -> bytes:
    """A peer: a plain socket, of a process in the namespace."""
    with socket.socket(V6 if len(address) == 4 else V4, kind, SCTP) as sock:
        sock.settimeout(TIMEOUT_S)
        if kind == STREAM:
            sock.connect(address)
            sock.sendall(b"question")
            return sock.recv(64)
        sock.sendto(b"question", address)
        return sock.recvfrom(64)[0]


def start_server(broker: BrokerProcess, serve: Callable[..., Any], spec: SocketSpec) -> Any:
    return start_as_user(USER, GROUP, serve, str(broker.socket_path), spec)


@needs_sctp
@pytest.mark.parametrize("family", [V4, V6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("kind", [STREAM, SEQPACKET], ids=["one-to-one", "one-to-many"])
def test_server_is_asked_by_a_peer_in_its_namespace(
    kind: int, family: int, make_namespace: Callable[..., str], broker: BrokerProcess
) -> None:
    name = make_namespace()
    host, _, *rest = LOOPBACK[family]
    address = (host, PORT, *rest)
    server = start_server(broker, answer_when_asked, listener(name, kind, address))
    assert call_inside(name, ask_when_it_listens, kind, address) == b"answer"
    assert server.result() == b"question"


def answer_when_asked(broker: str, spec: SocketSpec) -> bytes:
    with open_one(broker, spec) as server:
        if spec.type == SEQPACKET:
            question, peer = server.recvfrom(64)
            server.sendto(b"answer", peer)
            return question
        connection, _ = server.accept()
        with connection:
            question = connection.recv(64)
            connection.sendall(b"answer")
            return question


def ask_when_it_listens(kind: int, address: Any) -> bytes:
    wait_until(lambda: bool(sctp.addresses_here(address[1])))
    return ask(kind, address)


@needs_sctp
def test_client_connects_from_its_socket(make_namespace: Callable[..., str], broker: BrokerProcess) -> None:
    """The client connects an unbound socket by itself: one-to-one with connect, one-to-many with sendto."""
    name = make_namespace()
    assert as_unprivileged(talk_to_myself, str(broker.socket_path), name) == (b"to-one", b"to-many")


def talk_to_myself(broker: str, name: str) -> tuple[bytes, bytes]:
    with (
        open_one(broker, listener(name, STREAM, LOOPBACK[V4])) as server,
        open_one(broker, SocketSpec(name, V4, STREAM, SCTP)) as client,
        open_one(broker, listener(name, SEQPACKET, LOOPBACK[V6])) as many,
        open_one(broker, SocketSpec(name, V6, SEQPACKET, SCTP)) as other,
    ):
        client.connect(server.getsockname())
        client.sendall(b"to-one")
        connection, _ = server.accept()
        other.sendto(b"to-many", many.getsockname())
        with connection:
            return connection.recv(64), many.recvfrom(64)[0]


@needs_sctp
def test_streams_are_as_asked_for(make_namespace: Callable[..., str], broker: BrokerProcess) -> None:
    """SCTP_INITMSG of the spec is in force before the listener listens."""
    name = make_namespace()
    assert as_unprivileged(count_streams, str(broker.socket_path), name) == (7, 5)


def count_streams(broker: str, name: str) -> tuple[int, int]:
    options = ((sctp.SOL_SCTP, sctp.SCTP_INITMSG, sctp.initmsg(5, 7)),)
    with (
        open_one(broker, listener(name, STREAM, LOOPBACK[V4], options=options)) as server,
        open_one(broker, SocketSpec(name, V4, STREAM, SCTP)) as client,
    ):
        client.connect(server.getsockname())
        connection, _ = server.accept()
        with connection:
            return sctp.streams(connection)


HOMES = {
    V4: [("10.0.0.1", PORT), ("10.0.0.2", PORT), ("10.0.0.3", PORT)],
    V6: [("fd00::1", PORT, 0, 0), ("fd00::2", PORT, 0, 0)],
}


@needs_sctp
@pytest.mark.parametrize("family", [V4, V6], ids=["IPv4", "IPv6"])
def test_multi_homed_listener_has_all_its_addresses(
    family: int, make_namespace: Callable[..., str], broker: BrokerProcess
) -> None:
    """It has exactly the requested addresses, answers at each of them, and the audit has them."""
    name = make_namespace()
    homes = HOMES[family]
    for host, *_ in homes:
        ip("-n", name, "address", "add", f"{host}/{32 if family == V4 else 128}", "dev", "lo", "nodad")
    server = start_server(broker, answer_each, listener(name, STREAM, *homes))
    for address in homes:
        assert call_inside(name, ask_when_it_listens, STREAM, address) == b"answer"
    assert call_inside(name, sctp.addresses_here, PORT) == [{host for host, *_ in homes}]
    server.kill()
    asked = [sock for record in broker.audit() for sock in record.get("sockets", ())][-1]
    assert asked["address"] == list(homes[0])
    assert asked["also"] == [list(address) for address in homes[1:]]


def answer_each(broker: str, spec: SocketSpec) -> None:
    with open_one(broker, spec) as server:
        while True:
            connection, _ = server.accept()
            with connection:
                connection.recv(64)
                connection.sendall(b"answer")


@needs_sctp
def test_each_address_must_be_granted(make_namespace: Callable[..., str], broker: BrokerProcess) -> None:
    """A low port at one address that the grant does not list: the refusal names it."""
    name = make_namespace()
    broker.configure(GRANTS)
    broker.reload()
    for host in ("10.0.0.1", "10.0.0.2", "10.0.1.1"):
        ip("-n", name, "address", "add", f"{host}/32", "dev", "lo")
    good = listener(name, STREAM, ("10.0.0.1", 80), ("10.0.0.2", 80))
    assert as_unprivileged(bound_to, str(broker.socket_path), good) == 80
    bad = good._replace(also=(("10.0.1.1", 80),))
    with pytest.raises(nsbroker.AccessDeniedError, match=r"port 80 of 10\.0\.1\.1"):
        as_unprivileged(bound_to, str(broker.socket_path), bad)


def bound_to(broker: str, spec: SocketSpec) -> int:
    with open_one(broker, spec) as sock:
        return int(sock.getsockname()[1])


CONNECTIONS = 20


def connect_often(port: int) -> int:
    return sum(hear_when_it_listens(("127.0.0.1", port)) == b"answer" for _ in range(CONNECTIONS))


def hear_when_it_listens(address: Any) -> bytes:
    wait_until(lambda: bool(sctp.addresses_here(address[1])))
    with socket.socket(V4, STREAM, SCTP) as sock:
        sock.settimeout(TIMEOUT_S)
        sock.connect(address)
        return sock.recv(64)


def serve_by_selectors(server: socket.socket) -> None:
    server.setblocking(False)
    with selectors.DefaultSelector() as selector:
        selector.register(server, selectors.EVENT_READ)
        for _ in range(CONNECTIONS):
            selector.select()
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"answer")


def serve_by_asyncio(server: socket.socket) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal left
        writer.write(b"answer")
        writer.close()
        await writer.wait_closed()
        left -= 1
        if left == 0:
            done.set()

    async def run() -> None:
        async with await asyncio.start_server(answer, sock=server):
            await done.wait()

    left = CONNECTIONS
    done = asyncio.Event()
    asyncio.run(run())


def serve_by_trio(server: socket.socket) -> None:
    async def run() -> None:
        server.setblocking(False)
        listening = trio.socket.from_stdlib_socket(server)
        for _ in range(CONNECTIONS):
            connection, _ = await listening.accept()
            with connection:
                await connection.send(b"answer")

    trio.run(run)


@needs_sctp
@pytest.mark.parametrize("serve", [serve_by_selectors, serve_by_asyncio, serve_by_trio])
def test_event_loop_accepts_in_its_one_thread(
    serve: Callable[[socket.socket], None],
    make_namespace: Callable[..., str],
    broker: BrokerProcess,
) -> None:
    name = make_namespace()
    spec = listener(name, STREAM, ("127.0.0.1", PORT))
    server = start_as_user(USER, GROUP, serve_and_count, str(broker.socket_path), spec, serve)
    assert call_inside(name, connect_often, PORT) == CONNECTIONS
    assert server.result() == 1


def serve_and_count(broker: str, spec: SocketSpec, serve: Callable[[socket.socket], None]) -> int:
    with open_one(broker, spec) as server:
        serve(server)
        return thread_count("self")


@needs_sctp
def test_shell_tool_hands_over_a_listener(make_namespace: Callable[..., str], broker: BrokerProcess) -> None:
    """`nsbroker-get NS listen -p sctp`: the program finds an SCTP listener, as from systemd."""
    name = make_namespace()
    serve = "import socket; c, _ = socket.socket(fileno=3).accept(); c.sendall(b'answer')"
    with run_tool(broker) as tool:
        words = ["listen", "-p", "sctp", "-l", f"127.0.0.1:{PORT}", "--", python(), "-c", serve]
        server = tool.start(name, *words)
        assert call_inside(name, hear_when_it_listens, ("127.0.0.1", PORT)) == b"answer"
        assert server.wait() == 0


@pytest.mark.skipif(sctp.why_not() is None, reason="this kernel has SCTP")
def test_kernel_without_sctp_is_told_what_is_missing(make_namespace: Callable[..., str], broker: BrokerProcess) -> None:
    name = make_namespace()
    with pytest.raises(OSError, match="this kernel has no SCTP: load the module sctp, then reload nsbrokerd") as caught:
        as_unprivileged(open_one, str(broker.socket_path), SocketSpec(name, V4, STREAM, SCTP))
    assert caught.value.errno == errno.EPROTONOSUPPORT
