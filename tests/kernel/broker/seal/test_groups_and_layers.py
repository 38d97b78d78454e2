"""Further ways that could lead out of a limit: groups of listeners, layers over TCP, io_uring, maps of sockets."""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

from nsbrokerd.seal import Selection, revoke
from support import namespaces
from support.brokers.limited import disconnect, error_of
from support.brokers.walls import Walls
from support.far_side import socket_inside
from support.io_uring import Ring
from support.socket_listing import needs_listing
from support.users import as_unprivileged

INET = int(socket.AF_INET)
TCP, UDP = (INET, int(socket.SOCK_STREAM)), (INET, int(socket.SOCK_DGRAM))
LOOPBACK, PORT, FORBIDDEN_PORT = "127.0.0.1", 5000, 5001
_BPF, _MAP_CREATE, _SOCKMAP = 321, 0, 15
_TCP_ULP = 31
_URING_ACCEPT = 13


@pytest.fixture
def walls(make_namespace: Callable[..., str]) -> Iterator[Walls]:
    made = Walls(make_namespace())
    yield made
    made.close()


def listening(walls: Walls, port: int) -> socket.socket:
    sock = socket_inside(walls.name, *TCP)
    sock.settimeout(60)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((LOOPBACK, port))
    sock.listen()
    return sock


def _make_map_of_sockets() -> str | None:
    libc = ctypes.CDLL(None, use_errno=True)
    attributes = struct.pack("=5I", _SOCKMAP, 4, 4, 1, 0) + bytes(52)
    if libc.syscall(_BPF, _MAP_CREATE, attributes, len(attributes)) >= 0:
        return None
    return errno.errorcode[ctypes.get_errno()]


def test_client_makes_no_map_of_sockets() -> None:
    """A program of such a map could redirect data to other sockets without a call. It takes CAP_NET_ADMIN."""
    assert as_unprivileged(_make_map_of_sockets) == "EPERM"


def test_both_ends_at_once_open_no_connection_that_one_limit_forbids(walls: Walls) -> None:
    """A simultaneous open needs a connect(2) of both ends."""
    walls.limit("tcp", connect=[f"*:{PORT}"])
    with walls.make(*TCP) as limited, socket_inside(walls.name, *TCP) as free:
        limited.bind((LOOPBACK, PORT))
        free.bind((LOOPBACK, FORBIDDEN_PORT))
        assert error_of(limited.connect, (LOOPBACK, FORBIDDEN_PORT)) == "EPERM"
        assert error_of(free.connect, (LOOPBACK, PORT)) == "ECONNREFUSED"
        assert error_of(limited.getpeername) == "ENOTCONN"


@needs_listing
def test_group_of_listeners_gives_no_free_connection(walls: Walls) -> None:
    """Each connection of a group (SO_REUSEPORT) has the limit of the listener that took it, also after `revoke`."""
    walls.limit("tcp", connect=[f"*:{FORBIDDEN_PORT + 1}"])
    with walls.make(*TCP) as limited:
        limited.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        limited.bind((LOOPBACK, PORT))
        limited.listen()
        with listening(walls, FORBIDDEN_PORT), listening(walls, PORT) as free:
            limited.setblocking(False)
            free.setblocking(False)
            taken = 0
            for _ in range(40):
                with socket_inside(walls.name, *TCP) as peer:
                    peer.connect((LOOPBACK, PORT))
                    if error_of(limited.getpeername) and (accepted := _accept(limited)) is not None:
                        taken += 1
                        with accepted:
                            disconnect(accepted)
                            assert error_of(accepted.connect, (LOOPBACK, FORBIDDEN_PORT)) == "EPERM"
                    else:
                        free.accept()[0].close()
            assert taken, "the test shows nothing: the limited listener got no connection"
            assert revoke(walls.directory, Selection(grant="limited"))
            assert error_of(limited.accept) == ("EPERM" if walls.both else "EAGAIN")


def _accept(listener: socket.socket) -> socket.socket | None:
    try:
        return listener.accept()[0]
    except BlockingIOError:
        return None


def test_other_layer_over_tcp_keeps_the_limit(walls: Walls) -> None:
    """KTLS changes how data is sent, and not where it goes."""
    walls.limit("tcp", connect=[f"*:{PORT}"])
    with listening(walls, PORT) as server, walls.make(*TCP) as limited:
        limited.connect((LOOPBACK, PORT))
        if error := error_of(limited.setsockopt, socket.IPPROTO_TCP, _TCP_ULP, b"tls"):
            pytest.skip(f"this kernel has no kTLS: {error}")
        with server.accept()[0] as peer:
            limited.send(b"before")
            assert peer.recv(10) == b"before"
            assert revoke(walls.directory, Selection(grant="limited"))
            error_of(limited.send, b"after")
            assert error_of(peer.recv, 10, socket.MSG_DONTWAIT) == "EAGAIN"
            assert error_of(limited.connect, (LOOPBACK, FORBIDDEN_PORT)) in ("EPERM", "EISCONN")


@needs_listing
def test_ring_accepts_nothing_of_a_revoked_listener(walls: Walls) -> None:
    try:
        ring = Ring()
    except OSError as error:
        pytest.skip(f"this kernel has no io_uring: {error}")
    walls.limit("tcp", bind=[f"*:{PORT}"])
    with walls.make(*TCP) as listener, socket_inside(walls.name, *TCP) as peer:
        listener.bind((LOOPBACK, PORT))
        listener.listen()
        listener.setblocking(False)
        peer.connect((LOOPBACK, PORT))
        assert revoke(walls.directory, Selection(grant="limited"))
        # With the first wall alone, it gets the connection that waited. No packet of it goes in or out.
        result = ring.run(_URING_ACCEPT, listener.fileno(), 0, 0)
        assert (result == -errno.EPERM) is walls.both


def test_limits_hold_while_namespaces_of_one_name_come_and_go(walls: Walls) -> None:
    """Sockets of the former namespaces and of the new one, while another thread sends."""
    walls.limit("udp", connect=[f"127.0.0.1:{PORT}"])
    socks: list[socket.socket] = []
    errors: set[str | None] = set()
    ended = threading.Event()

    def send() -> None:
        while not ended.is_set():
            for sock in list(socks):
                errors.add(error_of(sock.sendto, b"x", (LOOPBACK, FORBIDDEN_PORT)))

    sender = threading.Thread(target=send)
    sender.start()
    try:
        for _ in range(10):
            socks.append(walls.make(*UDP))
            namespaces.delete(walls.name)
            namespaces.make(walls.name)
        for sock in socks:
            assert error_of(sock.sendto, b"x", (LOOPBACK, FORBIDDEN_PORT)) == "EPERM"
        with walls.make(*UDP) as last:
            assert error_of(last.sendto, b"x", (LOOPBACK, PORT)) is None
    finally:
        ended.set()
        sender.join()
        for sock in socks:
            sock.close()
    assert errors == {"EPERM"}
