"""The bytes of a connection: all of them, in order, in both directions, and with each end as the peer made it."""

from __future__ import annotations

import hashlib
import socket
import threading
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from support.process_state import state
from support.proxied import HOST4, Inside, Proxied, Server, connect, exactly, memory, socks, to_the_end, tunnel
from support.waiting import LIMIT_S, wait_until

MANY_BYTES = 2**26
FEW_BYTES = 2**20


@pytest.fixture(scope="module")
def proxy(place: Inside) -> Proxied:
    return place.start()


@pytest.fixture(params=[socks, tunnel])
def ask(request: pytest.FixtureRequest) -> object:
    return request.param


def opened(proxy: Proxied, server: Server) -> socket.socket:
    sock = proxy.connect()
    assert socks(sock, HOST4, server.port) == 0
    return sock


def random_bytes(count: int) -> bytes:
    return hashlib.shake_128(b"seed").digest(2**20) * (count // 2**20)


@pytest.mark.parametrize("way", ["tcp", "unix"])
def test_large_data_passes_both_ways_at_once(
    place: Inside, echo_server: Server, way: str, open_directory: Path
) -> None:
    """The echo keeps both directions busy, so neither may wait for the other one."""
    proxy = place.start("-l", f"{open_directory}/proxy" if way == "unix" else "127.0.0.1:0")
    data = random_bytes(MANY_BYTES)
    with connect(proxy.address) as sock:
        assert tunnel(sock, HOST4, echo_server.port) == 200

        def send() -> None:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        received = to_the_end(sock)
        sender.join()
    assert hashlib.sha256(received).digest() == hashlib.sha256(data).digest()


def test_bytes_that_come_with_the_request_are_not_lost(proxy: Proxied, echo_server: Server) -> None:
    with proxy.connect() as sock:
        sock.sendall(f"CONNECT {HOST4}:{echo_server.port} HTTP/1.1\r\nHost: a\r\n\r\nearly".encode())
        sock.shutdown(socket.SHUT_WR)
        assert to_the_end(sock) == b"HTTP/1.1 200 Connection established\r\n\r\nearly"


def test_client_can_end_first(proxy: Proxied, place: Inside) -> None:
    """The server sees the end, and its answer still arrives."""
    server = Server(place.name, lambda sock: sock.sendall(b"got " + to_the_end(sock)))
    with opened(proxy, server) as sock:
        sock.sendall(b"all")
        sock.shutdown(socket.SHUT_WR)
        assert to_the_end(sock) == b"got all"
    server.close()


def test_server_can_end_first(proxy: Proxied, place: Inside) -> None:
    """The client sees the end, and the server still gets the rest."""
    got: list[bytes] = []

    def serve(sock: socket.socket) -> None:
        sock.sendall(b"bye")
        sock.shutdown(socket.SHUT_WR)
        got.append(to_the_end(sock))

    server = Server(place.name, serve)
    with opened(proxy, server) as sock:
        assert to_the_end(sock) == b"bye"
        sock.sendall(b"more")
        sock.shutdown(socket.SHUT_WR)
        wait_until(lambda: got == [b"more"])
    server.close()


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()


def test_reset_by_the_server_is_one_for_the_client(proxy: Proxied, place: Inside) -> None:
    """Data that was cut off must not look complete."""

    def serve(sock: socket.socket) -> None:
        exactly(sock, 1)
        sock.sendall(b"half")
        reset(sock)

    server = Server(place.name, serve)
    with opened(proxy, server) as sock:
        sock.sendall(b"x")
        with pytest.raises(ConnectionResetError):
            to_the_end(sock)
    server.close()


def test_unix_socket_only_ends(place: Inside, open_directory: Path) -> None:
    """It has no reset, as the documents say."""

    def serve(sock: socket.socket) -> None:
        exactly(sock, 1)
        sock.sendall(b"half")
        reset(sock)

    server = Server(place.name, serve)
    with opened(place.start("-l", f"{open_directory}/proxy"), server) as sock:
        sock.sendall(b"x")
        assert b"half".startswith(to_the_end(sock))
    server.close()


def test_reset_by_the_client_is_one_for_the_server(proxy: Proxied, place: Inside) -> None:
    seen: list[str] = []

    def serve(sock: socket.socket) -> None:
        sock.sendall(b"x")
        try:
            to_the_end(sock)
            seen.append("end")
        except ConnectionResetError:
            seen.append("reset")

    server = Server(place.name, serve)
    sock = opened(proxy, server)
    exactly(sock, 1)
    reset(sock)
    wait_until(lambda: bool(seen))
    assert seen == ["reset"]
    server.close()


def test_peer_that_never_reads_holds_up_only_itself(proxy: Proxied, place: Inside, echo_server: Server) -> None:
    """The proxy keeps no more than the sockets hold, and does not spin meanwhile."""
    release = threading.Event()
    received: list[int] = []

    def serve(sock: socket.socket) -> None:
        release.wait(LIMIT_S)
        received.append(len(to_the_end(sock)))

    server = Server(place.name, serve)
    before = memory(proxy.pid)
    data = random_bytes(FEW_BYTES)
    with ExitStack() as stack:
        held = [stack.enter_context(opened(proxy, server)) for _ in range(8)]
        sent = [fill(sock, data) for sock in held]
        assert memory(proxy.pid) - before < 2**24
        wait_until(lambda: all(state(proxy.pid) == "S" for _ in range(100)))
        with opened(proxy, echo_server) as other:
            other.sendall(b"hello")
            assert exactly(other, 5) == b"hello"
        release.set()
        for sock in held:
            sock.shutdown(socket.SHUT_WR)
        wait_until(lambda: sorted(received) == sorted(sent))
    server.close()


def fill(sock: socket.socket, data: bytes) -> int:
    """Send until nothing more is taken for a while, and return how much was."""
    sock.settimeout(0.3)
    count = 0
    try:
        while True:
            count += sock.send(data)
    except TimeoutError:
        return count


@pytest.mark.parametrize("is_late", [False, True], ids=["at once", "later"])
def test_plain_request_ends_with_its_answer(proxy: Proxied, place: Inside, *, is_late: bool) -> None:
    """A second request on the connection is not served, and does not cut off the answer to the first one."""
    received: list[bytes] = []
    asked, asked_again = threading.Event(), threading.Event()

    def serve(sock: socket.socket) -> None:
        data = b""
        while not data.endswith(b"\r\n\r\n"):
            data += exactly(sock, 1)
        asked.set()
        assert asked_again.wait(LIMIT_S)
        sock.settimeout(0.3)
        with suppress(TimeoutError):
            data += sock.recv(2**16)
        received.append(data)
        sock.settimeout(LIMIT_S)
        sock.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + random_bytes(FEW_BYTES))

    server = Server(place.name, serve)
    request = f"GET http://{HOST4}:{server.port}/ HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    with proxy.connect() as sock:
        sock.sendall(request if is_late else request * 3)
        assert asked.wait(LIMIT_S)
        if is_late:
            sock.sendall(request * 2)
        asked_again.set()
        assert to_the_end(sock).endswith(random_bytes(FEW_BYTES))
    assert [data.count(b"GET") for data in received] == [1]
    server.close()


def test_connections_leave_nothing_open(proxy: Proxied, echo_server: Server) -> None:
    with opened(proxy, echo_server):
        pass
    wait_until(lambda: proxy.descriptors() <= 12)
    before = proxy.descriptors()
    for _ in range(30):
        opened(proxy, echo_server).close()
    wait_until(lambda: proxy.descriptors() <= before)
