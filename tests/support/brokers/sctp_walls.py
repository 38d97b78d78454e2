"""Limited sockets of SCTP in this process, with peers that have no limit, and the sockets that SCTP makes of them."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import threading
from collections.abc import Iterator, Sequence

from support import namespaces
from support.brokers.walls import Walls
from support.far_side import socket_inside
from support.inside import enter, path_of

INET, PROTOCOL = int(socket.AF_INET), int(socket.IPPROTO_SCTP)
ONE_TO_ONE, ONE_TO_MANY = (
    (INET, int(socket.SOCK_STREAM), PROTOCOL),
    (INET, int(socket.SOCK_SEQPACKET), PROTOCOL),
)
LOOPBACK, PORT, FORBIDDEN_PORT = "127.0.0.1", 5000, 5001
PACKETS = {"socket_sendmsg", "socket_recvmsg"}
BINDX_ADD, CONNECTX, UDP_PORT, AUTH_CHUNK = 100, 110, 132, 21
_PEELOFF, _ASSOCIATIONS = 102, 29

_libc = ctypes.CDLL(None, use_errno=True)


def sctp_walls(name: str) -> Iterator[Walls]:
    """A seal that limits SCTP to one port of the loopback, for a fixture."""
    made = Walls(name)
    try:
        made.limit("sctp", connect=[f"127.0.0.1:{PORT}"], bind=[f"*:{PORT}"])
        yield made
    finally:
        made.close()


def packed(port: int, host: str = LOOPBACK) -> bytes:
    return struct.pack("=H", INET) + struct.pack("!H", port) + socket.inet_aton(host) + bytes(8)


def server(walls: Walls, port: int) -> socket.socket:
    sock = socket_inside(walls.name, *ONE_TO_ONE)
    sock.bind((LOOPBACK, port))
    sock.listen()
    sock.settimeout(60)
    return sock


ANY_PEER = ("127.0.0.0/8:*",)


def serve(
    walls: Walls, kind: tuple[int, ...], connect: Sequence[str] | None = ANY_PEER
) -> tuple[socket.socket, socket.socket]:
    """Return a limited listener, and a peer that an association joins with it. The limit covers any peer."""
    walls.limit("sctp", connect=None if connect is None else list(connect), bind=[f"*:{PORT}"])
    listener, peer = walls.make(*kind), socket_inside(walls.name, *ONE_TO_ONE)
    listener.settimeout(60)
    peer.settimeout(60)
    listener.bind((LOOPBACK, PORT))
    listener.listen()
    peer.connect((LOOPBACK, PORT))
    return listener, peer


def accept(_walls: Walls, listener: socket.socket, _peer: socket.socket) -> socket.socket:
    return listener.accept()[0]


def peel_off(walls: Walls, listener: socket.socket, peer: socket.socket) -> socket.socket:
    peer.send(b"hello")
    assert listener.recv(100) == b"hello"
    return peel_off_inside(walls, listener)


def peel_off_inside(walls: Walls, sock: socket.socket) -> socket.socket:
    """SCTP does it only in the socket's own namespace."""
    fds: list[int] = []

    def peel() -> None:
        enter(path_of(walls.name))
        fds.append(peel_first(sock))

    thread = threading.Thread(target=peel)
    thread.start()
    thread.join()
    if fds[0] < 0:
        raise OSError(-fds[0], os.strerror(-fds[0]))
    return socket.socket(fileno=fds[0])


def associations(sock: socket.socket) -> list[int]:
    """Return the ids of a one-to-many socket's associations."""
    number, *ids = struct.iter_unpack("=I", sock.getsockopt(PROTOCOL, _ASSOCIATIONS, 64))
    assert len(ids) == number[0]
    return [one for (one,) in ids]


def peel_first(sock: socket.socket) -> int:
    """Peel off the first association. Return the descriptor, or a negative errno."""
    value = ctypes.create_string_buffer(struct.pack("=Ii", associations(sock)[0], -1), 8)
    fd: int = _libc.getsockopt(sock.fileno(), PROTOCOL, _PEELOFF, value, ctypes.byref(ctypes.c_uint(8)))
    return fd if fd >= 0 else -ctypes.get_errno()


MADE = [(ONE_TO_ONE, accept), (ONE_TO_MANY, peel_off)]


NEAR, NOBODY = "10.99.0.1", "10.99.0.2"


def lead_nowhere(name: str) -> None:
    """Give the namespace an interface that nobody listens to."""
    namespaces.ip("-n", name, "link", "add", "nowhere", "type", "dummy")
    namespaces.ip("-n", name, "address", "add", f"{NEAR}/24", "dev", "nowhere")
    namespaces.ip("-n", name, "link", "set", "nowhere", "up")
