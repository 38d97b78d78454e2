"""Clients of the proxy that send garbage, too much, too little or nothing, in any number, and its end."""

from __future__ import annotations

import os
import resource
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from nsbroker.proxy import server as proxy_server
from support.process_state import state
from support.proxied import HOST4, SILENT, UNKNOWN, Inside, Proxied, Server, exactly, memory, socks, to_the_end, tunnel
from support.users import USER
from support.waiting import wait_until

MANY = 1000


@pytest.fixture
def proxy(place: Inside) -> Proxied:
    return place.start()


@pytest.fixture
def _many_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def serves(proxy: Proxied, server: Server) -> bool:
    with proxy.connect() as sock:
        assert socks(sock, HOST4, server.port) == 0
        sock.sendall(b"hello")
        return exactly(sock, 5) == b"hello"


def shorten(name: str, seconds: float) -> object:
    return lambda: setattr(proxy_server, name, seconds)


def end(proxy: Proxied) -> str:
    proxy.running.send(signal.SIGTERM)
    done = proxy.running.finish()
    assert done.status == 0
    return done.err


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x00\x01garbage", "a client speaks neither SOCKS5 nor HTTP"),
        (
            b"\x16\x03\x01\x02\x00",
            "a client speaks TLS to the proxy itself: name the proxy by http://, not by https://",
        ),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "this is a proxy: configure it in your program"),
        (b"Quit\r\n\r\n", "a client sent no valid HTTP: "),
        (b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00", "a client speaks SOCKS4, and the proxy only SOCKS5"),
        (b"\x05\x01\x00\x05\x03\x00\x01\x00\x00\x00\x00\x00\x00", "a client asks for UDP ASSOCIATE"),
        (b"CONNECT a:1 HTTP/1.1\r\nX: " + b"x" * 2**20, "a client sent no valid HTTP: "),
    ],
)
def test_bad_client_is_dropped_and_one_line_says_why(
    proxy: Proxied, echo_server: Server, data: bytes, says: str
) -> None:
    for _ in range(3):
        with proxy.connect() as sock:
            try:
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                to_the_end(sock)
            except ConnectionError:
                pass
    assert serves(proxy, echo_server)
    err = end(proxy)
    assert err.startswith(f"nsbroker-get: {says}")
    assert err.count("\n") == 1


def test_client_that_sends_no_whole_request_is_dropped(place: Inside, echo_server: Server) -> None:
    """Though it sends a byte now and then."""
    proxy = place.start(before=shorten("_HANDSHAKE_S", 0.5))
    with proxy.connect() as silent, proxy.connect() as slow:
        slow.settimeout(0.1)
        begin = time.monotonic()
        wait_until(lambda: not is_open_after_a_byte(slow))
        assert time.monotonic() - begin > 0.3
        assert to_the_end(silent) == b""
    assert serves(proxy, echo_server)
    assert end(proxy) == "nsbroker-get: a client sent no whole request within 0.5 s\n"


def is_open_after_a_byte(sock: socket.socket) -> bool:
    try:
        sock.sendall(b"C")
        return bool(sock.recv(1))
    except TimeoutError:
        return True
    except ConnectionError:
        return False


@pytest.mark.usefixtures("_many_files")
def test_flood_of_half_open_requests_keeps_nobody_out(proxy: Proxied, echo_server: Server) -> None:
    """The oldest ones are dropped, so a client that sends its request at once is served, whenever it comes."""
    with ExitStack() as stack:
        held = [stack.enter_context(proxy.connect()) for _ in range(MANY)]
        for sock in held[MANY // 2 :]:
            sock.sendall(b"CONNECT ")
        assert serves(proxy, echo_server)
        assert to_the_end(held[0]) == b""
        wait_until(lambda: proxy.descriptors() < 300)
    assert "more than 256 clients have sent no whole request: dropping the oldest" in end(proxy)


@pytest.mark.usefixtures("_many_files")
def test_thousand_idle_connections_stay_and_cost_little(proxy: Proxied, echo_server: Server) -> None:
    """The proxy sleeps meanwhile. They all work afterwards."""
    before = memory(proxy.pid)
    with ExitStack() as stack:
        held = []
        for _ in range(MANY):
            held.append(stack.enter_context(proxy.connect()))
            assert socks(held[-1], HOST4, echo_server.port) == 0
        wait_until(lambda: all(state(proxy.pid) == "S" for _ in range(100)))
        assert (memory(proxy.pid) - before) / MANY < 50_000
        for number, sock in enumerate(held):
            sock.sendall(f"{number:6}".encode())
        for number, sock in enumerate(held):
            assert exactly(sock, 6) == f"{number:6}".encode()
    wait_until(lambda: proxy.descriptors() < 60)


@pytest.mark.usefixtures("_many_files")
def test_requests_that_come_all_at_once_are_served(proxy: Proxied, echo_server: Server) -> None:
    with ExitStack() as stack:
        held = [stack.enter_context(proxy.connect()) for _ in range(200)]
        proxy.running.send(signal.SIGSTOP)
        for sock in held:
            sock.sendall(b"\x05\x01\x00\x05\x01\x00\x03" + bytes((len(HOST4),)) + HOST4.encode())
            sock.sendall(echo_server.port.to_bytes(2, "big"))
        proxy.running.send(signal.SIGCONT)
        for sock in held:
            assert exactly(sock, 12)[2:4] == b"\x05\x00"
    wait_until(lambda: proxy.descriptors() < 60)  # with idle connections to the broker


def test_target_that_does_not_answer_holds_up_nobody(place: Inside, echo_server: Server) -> None:
    proxy = place.start(before=shorten("_DIAL_S", 1.0))
    with proxy.connect() as sock, proxy.connect() as other:
        sock.sendall(f"CONNECT {SILENT}:80 HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert serves(proxy, echo_server)
        assert socks(other, SILENT, 80) == 4
        assert b" 504 Gateway Timeout\r\n" in to_the_end(sock)
    assert end(proxy).startswith(f"nsbroker-get: can't connect to {SILENT} port 80: Connection timed out: no answer")


def test_lines_about_failures_are_bounded(proxy: Proxied) -> None:
    for number in range(60):
        with proxy.connect() as sock:
            assert tunnel(sock, f"{number}.{UNKNOWN}", 80) == 502
    lines = end(proxy).splitlines()
    assert len(lines) < 60
    assert any(line.endswith("leaving out the others") for line in lines)


def test_reader_of_the_log_that_does_not_read_holds_up_nobody(proxy: Proxied, echo_server: Server) -> None:
    """Its standard error is a pipe, which is full."""
    size = 0
    with open(f"/proc/{proxy.pid}/fd/2", "wb", buffering=0, opener=nonblocking) as pipe:
        while written := pipe.write(bytes(4096)):
            size += written
    with proxy.connect() as sock:
        sock.sendall(b"\0")
        assert to_the_end(sock) == b""
    assert serves(proxy, echo_server)
    proxy.running.send(signal.SIGKILL)
    assert proxy.running.wait() == -signal.SIGKILL


def nonblocking(path: str, flags: int) -> int:
    return os.open(path, flags & ~os.O_TRUNC & ~os.O_CREAT | os.O_NONBLOCK)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_signal_lets_connections_end(proxy: Proxied, echo_server: Server, number: int, status: int) -> None:
    """New ones are refused at once."""
    with proxy.connect() as sock:
        assert socks(sock, HOST4, echo_server.port) == 0
        proxy.running.send(number)
        wait_until(lambda: refuses_connections(proxy))
        sock.sendall(b"the rest")
        sock.shutdown(socket.SHUT_WR)
        assert to_the_end(sock) == b"the rest"
    done = proxy.running.finish()
    assert (done.status, done.err) == (status, "")


def refuses_connections(proxy: Proxied) -> bool:
    try:
        proxy.connect().close()
    except ConnectionError:
        return True
    return False


@pytest.mark.parametrize("is_patient", [False, True], ids=["second signal", "after a while"])
def test_connections_that_do_not_end_are_reset(place: Inside, echo_server: Server, *, is_patient: bool) -> None:
    """Their data was cut off, and both sides must see that."""
    proxy = place.start(before=shorten("_GRACE_S", 0.2 if is_patient else 1000.0))
    with proxy.connect() as sock:
        assert socks(sock, HOST4, echo_server.port) == 0
        proxy.running.send(signal.SIGTERM)
        if not is_patient:
            wait_until(lambda: refuses_connections(proxy))
            proxy.running.send(signal.SIGTERM)
        with pytest.raises(ConnectionResetError):
            to_the_end(sock)
    assert proxy.running.finish().status == 0


def test_kill_resets_all_connections(proxy: Proxied, place: Inside) -> None:
    """For both sides, data that was cut off must not look complete. The kernel itself would end them cleanly."""
    seen: list[str] = []

    def serve(sock: socket.socket) -> None:
        sock.sendall(b"half")
        try:
            to_the_end(sock)
            seen.append("end")
        except ConnectionResetError:
            seen.append("reset")

    server = Server(place.name, serve)
    with proxy.connect() as sock:
        assert socks(sock, HOST4, server.port) == 0
        assert exactly(sock, 4) == b"half"
        proxy.running.send(signal.SIGKILL)
        with pytest.raises(ConnectionResetError):
            to_the_end(sock)
    assert proxy.running.wait() == -signal.SIGKILL
    wait_until(lambda: seen == ["reset"])
    server.close()


def test_without_room_for_descriptors_connections_wait(proxy: Proxied, echo_server: Server) -> None:
    """And are served as soon as there is room. One line names the limit."""
    before = resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE, (3, before[1]))
    with proxy.connect() as sock:
        proxy.running.read_error_until("\n")
        resource.prlimit(proxy.pid, resource.RLIMIT_NOFILE, before)
        assert socks(sock, HOST4, echo_server.port) == 0
    assert "can't accept a connection: Too many open files; trying again" in end(proxy)


def test_user_without_rights_serves_as_well(place: Inside, echo_server: Server) -> None:
    proxy = place.start("--any-user", uid=USER)
    assert serves(proxy, echo_server)
