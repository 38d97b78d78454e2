"""Limits of SCTP sockets: both walls together hold them, and also the sockets that they accept and peel off."""

from __future__ import annotations

import ctypes
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from nsbrokerd.seal import Selection, live_sockets, revoke
from nsbrokerd.seal.wall import standing_hooks
from support import sctp
from support.brokers.limited import error_of
from support.brokers.walls import Walls
from support.far_side import socket_inside
from support.inside import enter, path_of
from support.waiting import wait_until

INET, PROTOCOL = int(socket.AF_INET), int(socket.IPPROTO_SCTP)
ONE_TO_ONE, ONE_TO_MANY = (
    (INET, int(socket.SOCK_STREAM), PROTOCOL),
    (INET, int(socket.SOCK_SEQPACKET), PROTOCOL),
)
LOOPBACK, PORT, FORBIDDEN_PORT = "127.0.0.1", 5000, 5001
PACKETS = {"socket_sendmsg", "socket_recvmsg"}
_BINDX_ADD, _PEELOFF, _CONNECTX, _ASSOCIATIONS, _UDP_PORT = 100, 102, 110, 29, 132

_libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def walls(make_namespace: Callable[..., str]) -> Iterator[Walls]:
    if reason := sctp.why_not():
        pytest.skip(reason)
    made = Walls(make_namespace())
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


WAYS = {
    "connect": (ONE_TO_ONE, lambda sock, port: sock.connect((LOOPBACK, port))),
    "connectx": (ONE_TO_ONE, lambda sock, port: sock.setsockopt(PROTOCOL, _CONNECTX, packed(port))),
    "send": (ONE_TO_MANY, lambda sock, port: sock.sendto(b"x", (LOOPBACK, port))),
    "connect of many": (ONE_TO_MANY, lambda sock, port: sock.connect((LOOPBACK, port))),
}


@pytest.mark.parametrize("way", WAYS)
def test_association_begins_only_where_the_limit_allows(walls: Walls, way: str) -> None:
    kind, begin = WAYS[way]
    with server(walls, PORT) as allowed, server(walls, FORBIDDEN_PORT) as forbidden:
        with walls.make(*kind) as sock:
            assert error_of(begin, sock, FORBIDDEN_PORT) == "EPERM"
            forbidden.setblocking(False)
            assert error_of(forbidden.accept) == "EAGAIN"
        with walls.make(*kind) as sock:
            assert error_of(begin, sock, PORT) in (None, "EINPROGRESS")
            allowed.accept()[0].close()


def test_several_addresses_at_once_are_refused(walls: Walls) -> None:
    """Each of them would need a check, and one can be named after the other."""
    with walls.make(*ONE_TO_ONE) as sock:
        assert error_of(sock.setsockopt, PROTOCOL, _CONNECTX, packed(PORT) * 2) == "EPERM"
        assert error_of(sock.setsockopt, PROTOCOL, _UDP_PORT, bytes(140)) == "EPERM"


def test_socket_is_bound_only_where_the_limit_allows(walls: Walls) -> None:
    with walls.make(*ONE_TO_ONE) as sock, walls.make(*ONE_TO_ONE) as other:
        assert error_of(sock.bind, (LOOPBACK, FORBIDDEN_PORT)) == "EPERM"
        assert error_of(sock.setsockopt, PROTOCOL, _BINDX_ADD, packed(FORBIDDEN_PORT)) == "EPERM"
        sock.bind((LOOPBACK, PORT))
        assert error_of(other.setsockopt, PROTOCOL, _BINDX_ADD, packed(PORT, "127.0.0.2")) is None


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
    ids = listener.getsockopt(PROTOCOL, _ASSOCIATIONS, 64)
    value = ctypes.create_string_buffer(struct.pack("=Ii", struct.unpack_from("=II", ids)[1], -1), 8)
    length = ctypes.c_uint(8)
    fds = []

    def peel() -> None:
        enter(path_of(walls.name))  # SCTP does it only in the socket's own namespace
        fds.append(_libc.getsockopt(listener.fileno(), PROTOCOL, _PEELOFF, value, ctypes.byref(length)))

    thread = threading.Thread(target=peel)
    thread.start()
    thread.join()
    return socket.socket(fileno=fds[0])


MADE = [(ONE_TO_ONE, accept), (ONE_TO_MANY, peel_off)]


def test_narrowing_cuts_off_a_peeled_off_socket_whose_association_its_owner_began(walls: Walls) -> None:
    """The owner chose this peer by sendto(2). If the limit covers the peer again, the association goes on."""
    with server(walls, PORT) as listener, walls.make(*ONE_TO_MANY) as client:
        client.sendto(b"hello", (LOOPBACK, PORT))
        with listener.accept()[0] as peer:
            peer.settimeout(60)
            assert peer.recv(100) == b"hello"
            with peel_off(walls, client, peer) as made:
                made.send(b"before")
                assert peer.recv(100) == b"before"
                walls.limit("sctp", connect=[f"127.0.0.1:{FORBIDDEN_PORT}"])
                assert error_of(made.send, b"during") == "EPERM"
                walls.limit("sctp", connect=[f"127.0.0.1:{PORT}"])
                made.send(b"after")
                assert peer.recv(100) == b"after"


@pytest.mark.parametrize(("kind", "take"), MADE, ids=["accepted", "peeled off"])
def test_socket_that_the_kernel_makes_has_the_limit(
    walls: Walls, kind: tuple[int, ...], take: Callable[[Walls, socket.socket, socket.socket], socket.socket]
) -> None:
    """It talks to its peer, begins no other association, and is revoked with its listener."""
    listener, peer = serve(walls, kind)
    with listener, peer, take(walls, listener, peer) as made:
        made.settimeout(60)
        peer.settimeout(60)
        made.send(b"there")
        assert peer.recv(100) == b"there"
        peer.send(b"back")
        assert made.recv(100) == b"back"
        assert len(live_sockets(walls.directory)) == 2
        assert error_of(made.connect, (LOOPBACK, FORBIDDEN_PORT)) == "EPERM"
        assert error_of(made.setsockopt, PROTOCOL, _CONNECTX, packed(PORT, "127.0.0.2")) == "EPERM"
        peer.send(b"unread")
        assert made.recv(100, socket.MSG_PEEK) == b"unread"
        assert len(revoke(walls.directory, Selection(grant="limited"))) == 2
        assert [error_of(made.send, b"x"), error_of(made.recv, 100)] == ["EPERM", "EPERM"]
        listener.setblocking(False)
        assert error_of(listener.accept) == "EPERM"


def test_hooks_for_each_packet_stand_as_long_as_a_socket_of_sctp_with_a_limit_for_connecting_is_in_use(
    walls: Walls,
) -> None:
    """Also one that a listener accepted, which is in none of the broker's hands."""
    assert not standing_hooks(walls.directory) & PACKETS
    listener, peer = serve(walls, ONE_TO_ONE)
    with peer, listener.accept()[0]:
        listener.close()
        walls.limit("tcp", connect=[], name="another")
        assert standing_hooks(walls.directory) >= PACKETS

    def are_gone() -> bool:
        # On Linux 7.2, the first wall also sees the packets that end the association of the accepted socket.
        walls.limit("sctp", connect=list(ANY_PEER))
        return not standing_hooks(walls.directory) & PACKETS

    wait_until(are_gone)


@pytest.mark.parametrize("way", ["removed", "revoked"])
@pytest.mark.parametrize(("kind", "take"), MADE, ids=["accepted", "peeled off"])
def test_without_a_limit_for_connecting_hooks_stand_only_once_a_socket_is_stopped(
    walls: Walls,
    kind: tuple[int, ...],
    take: Callable[[Walls, socket.socket, socket.socket], socket.socket],
    way: str,
) -> None:
    listener, peer = serve(walls, kind, connect=None)
    with peer, take(walls, listener, peer) as made:
        listener.close()
        made.settimeout(60)
        peer.send(b"unread")
        assert made.recv(100, socket.MSG_PEEK) == b"unread"
        walls.limit("sctp", bind=[f"*:{PORT}"])
        assert not standing_hooks(walls.directory) & PACKETS
        if way == "revoked":
            assert len(revoke(walls.directory, Selection(grant="limited"))) == 1
        else:
            walls.limit("tcp", connect=[], name="another")
        assert standing_hooks(walls.directory) >= PACKETS
        assert [error_of(made.send, b"x"), error_of(made.recv, 100)] == ["EPERM", "EPERM"]
        walls.limit("sctp", bind=[f"*:{PORT}"])
        if way == "revoked":
            assert standing_hooks(walls.directory) >= PACKETS
            assert error_of(made.send, b"x") == "EPERM"
        else:
            assert not standing_hooks(walls.directory) & PACKETS
            assert made.recv(100) == b"unread"


def test_hooks_stand_before_connecting_is_limited(walls: Walls) -> None:
    """From then on, SCTP can make a socket that is revoked from the start."""
    listener, peer = serve(walls, ONE_TO_ONE, connect=None)
    with listener, peer:
        assert not standing_hooks(walls.directory) & PACKETS
        walls.limit("sctp", connect=["127.0.0.0/8:*"], bind=[f"*:{PORT}"])
        assert standing_hooks(walls.directory) >= PACKETS


def test_next_socket_after_a_reload_has_the_hooks_for_its_packets_although_their_pins_were_removed(
    walls: Walls,
) -> None:
    walls.make(*ONE_TO_ONE).close()
    (walls.directory / "hook_socket_sendmsg").unlink()
    walls.limit("sctp", connect=[])
    with walls.make(*ONE_TO_ONE):
        assert "socket_sendmsg" in standing_hooks(walls.directory)


def test_grant_that_is_gone_stops_accepted_sockets_until_it_is_back(walls: Walls) -> None:
    listener, peer = serve(walls, ONE_TO_ONE)
    with listener, peer, listener.accept()[0] as made:
        listener.setblocking(False)
        walls.limit("tcp", connect=[], name="another")
        assert [error_of(made.send, b"x"), error_of(listener.accept)] == ["EPERM", "EPERM"]
        walls.limit("sctp", connect=["127.0.0.0/8:*"])
        made.send(b"there")
        assert peer.recv(100) == b"there"
