"""Limits of SCTP sockets: both walls together hold them, and also the sockets that they accept and peel off."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest

from nsbrokerd.seal import Selection, install, live_sockets, revoke, running
from nsbrokerd.seal.wall import standing_hooks
from support import namespaces, sctp
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


def test_narrowing_cuts_off_a_peeled_off_socket_whose_association_its_owner_began(walls: Walls) -> None:
    """The owner chose this peer by sendto(2). If the limit covers the peer again, the association goes on."""
    walls.limit("sctp")
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


@pytest.mark.parametrize("way", ["removed", "revoked"])
@pytest.mark.parametrize(("kind", "take"), MADE, ids=["accepted", "peeled off"])
@pytest.mark.parametrize("connect", [None, ANY_PEER], ids=["anywhere", "limited"])
def test_hooks_for_each_packet_stand_once_a_socket_that_the_kernel_made_is_stopped(
    walls: Walls,
    connect: tuple[str, ...] | None,
    kind: tuple[int, ...],
    take: Callable[[Walls, socket.socket, socket.socket], socket.socket],
    way: str,
) -> None:
    """Also if it is in none of the broker's hands, because its listener is closed. Otherwise they would cost others."""
    limit = None if connect is None else list(connect)
    listener, peer = serve(walls, kind, connect=connect)
    with peer, take(walls, listener, peer) as made:
        assert not standing_hooks(walls.directory) & PACKETS
        listener.close()
        made.settimeout(60)
        peer.send(b"unread")
        assert made.recv(100, socket.MSG_PEEK) == b"unread"
        walls.limit("sctp", connect=limit, bind=[f"*:{PORT}"])
        assert not standing_hooks(walls.directory) & PACKETS
        if way == "revoked":
            assert len(revoke(walls.directory, Selection(grant="limited"))) == 1
        else:
            walls.limit("tcp", connect=[], name="another")
        assert standing_hooks(walls.directory) >= PACKETS
        assert [error_of(made.send, b"x"), error_of(made.recv, 100)] == ["EPERM", "EPERM"]
        walls.limit("sctp", connect=limit, bind=[f"*:{PORT}"])
        if way == "revoked":
            assert standing_hooks(walls.directory) >= PACKETS
            assert error_of(made.send, b"x") == "EPERM"
        else:
            assert not standing_hooks(walls.directory) & PACKETS
            assert made.recv(100) == b"unread"


@pytest.mark.parametrize("kind", [ONE_TO_ONE, ONE_TO_MANY], ids=["one-to-one", "one-to-many"])
def test_client_that_is_stopped_needs_no_hooks_for_each_packet(walls: Walls, kind: tuple[int, ...]) -> None:
    """The first wall sees its packets, and it can make no other socket."""
    with server(walls, PORT) as listener, walls.make(*kind) as client:
        client.connect((LOOPBACK, PORT))
        with listener.accept()[0] as peer:
            assert len(revoke(walls.directory, Selection(grant="limited"))) == 1
            assert not standing_hooks(walls.directory) & PACKETS
            client.setblocking(False)
            if kind == ONE_TO_ONE:
                assert [error_of(client.listen), error_of(client.accept)] == ["EPERM", "EPERM"]
            else:
                assert error_of(peel_off_inside, walls, client) == "EPERM"
            # Linux 6.12 tells of it, also in the next call. 6.1 does not.
            assert error_of(client.sendto, b"unheard", (LOOPBACK, PORT)) in (None, "EPERM")
            peer.send(b"unheard")
            peer.setblocking(False)
            assert error_of(client.recv, 100) in ("EAGAIN", "EPERM")
            assert error_of(peer.recv, 100) == "EAGAIN"


@pytest.mark.parametrize("way", ["reload", "look of each minute"])
def test_hooks_for_each_packet_are_gone_once_no_socket_that_needs_them_is_in_use(
    walls: Walls, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_LOOK_AGAIN_S", 0)
    listener, peer = serve(walls, ONE_TO_ONE)
    with peer, listener.accept()[0] as made:
        # On Linux 7.2, the first wall drops the packets that would end the association.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, 0))
        listener.close()
        walls.limit("tcp", connect=[], name="another")
        walls.seal.tidy()
        assert standing_hooks(walls.directory) >= PACKETS

    def are_gone() -> bool:
        if way == "reload":
            walls.limit("sctp", connect=list(ANY_PEER))
        else:
            walls.seal.tidy()
        return not standing_hooks(walls.directory) & PACKETS

    wait_until(are_gone)


def test_next_broker_keeps_the_hooks_for_the_packets_of_a_socket_that_was_revoked(walls: Walls) -> None:
    listener, peer = serve(walls, ONE_TO_ONE)
    with listener, peer, listener.accept()[0] as made:
        walls.seal.close()
        assert len(revoke(walls.directory, Selection(grant="limited"))) == 2
        assert standing_hooks(walls.directory) >= PACKETS
        walls.seal = install(walls.directory)
        for _ in range(2):
            walls.limit("sctp", connect=list(ANY_PEER))
            assert standing_hooks(walls.directory) >= PACKETS
            assert error_of(made.send, b"x") == "EPERM"


def test_grant_that_is_gone_stops_accepted_sockets_until_it_is_back(walls: Walls) -> None:
    listener, peer = serve(walls, ONE_TO_ONE)
    with listener, peer, listener.accept()[0] as made:
        listener.setblocking(False)
        walls.limit("tcp", connect=[], name="another")
        assert [error_of(made.send, b"x"), error_of(listener.accept)] == ["EPERM", "EPERM"]
        walls.limit("sctp", connect=["127.0.0.0/8:*"])
        made.send(b"there")
        assert peer.recv(100) == b"there"


SECOND, THIRD = "127.0.0.2", "127.0.0.3"


def with_two_addresses(walls: Walls, port: int = 0) -> socket.socket:
    """A socket without a limit that names both of its addresses to each peer."""
    sock = socket_inside(walls.name, *ONE_TO_ONE)
    sock.bind((SECOND, port))
    sock.setsockopt(PROTOCOL, _BINDX_ADD, packed(sock.getsockname()[1], THIRD))
    return sock


@pytest.mark.parametrize("connect", [None, ANY_PEER], ids=["anywhere", "limited"])
def test_listener_takes_no_peer_of_several_addresses_if_connecting_is_limited(
    walls: Walls, connect: tuple[str, ...] | None
) -> None:
    listener, peer = serve(walls, ONE_TO_ONE, connect)
    with listener, peer, listener.accept()[0], with_two_addresses(walls) as several:
        several.setblocking(False)
        listener.setblocking(False)
        assert error_of(several.connect, (LOOPBACK, PORT)) == "EINPROGRESS"
        if connect is not None:
            assert error_of(listener.accept) == "EAGAIN"
            return
        with listener.accept()[0] as made:
            made.settimeout(60)
            made.send(b"there")
            several.settimeout(60)
            assert several.recv(100) == b"there"


INITS = {
    "none": ([], [], True),
    "its own": ([LOOPBACK], ["::1"], True),
    "another": ([SECOND], ["fd00::1"], False),
    "its own and another": ([LOOPBACK, SECOND], ["::1", "fd00::1"], False),
    "one of the other family": (["::1"], [LOOPBACK], False),
}


@pytest.mark.parametrize("family", [INET, int(socket.AF_INET6)], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("which", INITS)
def test_request_that_names_other_addresses_than_its_source_is_not_answered(
    walls: Walls, which: str, family: int
) -> None:
    """Some stacks name their only address."""
    *addresses, is_answered = INITS[which]
    host = LOOPBACK if family == INET else "::1"
    walls.limit("sctp", connect=["127.0.0.0/8:*", "[::1]:*"], bind=[f"*:{PORT}"])
    raw = socket_inside(walls.name, family, int(socket.SOCK_RAW), PROTOCOL)
    with raw, walls.make(family, int(socket.SOCK_STREAM), PROTOCOL) as listener:
        listener.bind((host, PORT))
        listener.listen()
        raw.settimeout(60)
        named = list(map(sctp.address_parameter, addresses[family != INET]))
        raw.sendto(sctp.packet(6000, PORT, sctp.init(*named)), (host, 0))
        raw.sendto(sctp.packet(6001, PORT, sctp.init()), (host, 0))
        answers = []
        while 6001 not in answers:
            data = raw.recv(2000)[20 if family == INET else 0 :]
            source_port, port = struct.unpack_from("!HH", data)
            if (source_port, data[12]) == (PORT, sctp.INIT_ACK):
                answers.append(port)
        assert (6000 in answers) == is_answered


def test_listener_that_had_a_peer_of_several_addresses_accepts_nothing_once_connecting_is_limited(
    walls: Walls,
) -> None:
    """The peer's connection waits. Accepting it would make a socket that reaches all of these addresses."""
    listener, peer = serve(walls, ONE_TO_ONE, connect=None)
    with listener, peer, with_two_addresses(walls) as several:
        several.connect((LOOPBACK, PORT))
        walls.limit("sctp", connect=list(ANY_PEER), bind=[f"*:{PORT}"])
        assert error_of(listener.accept) == "EPERM"
        walls.limit("sctp", bind=[f"*:{PORT}"])
        listener.accept()[0].close()


@pytest.mark.parametrize("way", ["send", "connect"])
def test_client_can_not_peel_off(walls: Walls, way: str) -> None:
    """If connecting is limited. Its associations work, also with servers of several addresses."""
    walls.limit("sctp", connect=[f"127.0.0.0/8:{PORT}"])
    with with_two_addresses(walls, PORT) as listener, walls.make(*ONE_TO_MANY) as client:
        listener.listen()
        listener.settimeout(60)
        if way == "send":
            client.sendto(b"first", (SECOND, PORT))
        else:
            client.connect((SECOND, PORT))
            client.sendto(b"first", (SECOND, PORT))
        with listener.accept()[0] as peer:
            peer.settimeout(60)
            assert peer.recv(100) == b"first"
            assert error_of(peel_off, walls, client, peer) == "EPERM"
            client.sendto(b"second", (SECOND, PORT))
            assert peer.recv(100) == b"second"
            walls.limit("sctp", bind=[])
            with peel_off(walls, client, peer) as made:
                made.send(b"third")
                assert peer.recv(100) == b"third"
                walls.limit("sctp", connect=[f"127.0.0.0/8:{PORT}"])
                assert error_of(made.send, b"fourth") == "EPERM"


def test_server_that_peels_off_begins_no_association(walls: Walls) -> None:
    """If connecting is limited. So whatever it peels off was checked when it was asked for."""
    listener, peer = serve(walls, ONE_TO_MANY)
    with listener, peer, server(walls, FORBIDDEN_PORT), peel_off(walls, listener, peer):
        for begin in (
            lambda: listener.sendto(b"x", (LOOPBACK, FORBIDDEN_PORT)),
            lambda: listener.connect((LOOPBACK, FORBIDDEN_PORT)),
            lambda: listener.setsockopt(PROTOCOL, _CONNECTX, packed(FORBIDDEN_PORT)),
        ):
            assert error_of(begin) == "EPERM"
        with socket_inside(walls.name, *ONE_TO_ONE) as another:
            another.connect((LOOPBACK, PORT))
            another.settimeout(60)
            peel_off(walls, listener, another).close()


def test_hooks_for_each_packet_stand_if_a_socket_has_begun_and_peeled_off_before_connecting_was_limited(
    walls: Walls,
) -> None:
    """A call of peeloff can still go on. What is in use then is free again after the next change."""
    walls.limit("sctp")
    with server(walls, PORT) as listener, walls.make(*ONE_TO_MANY) as client:
        client.sendto(b"hello", (LOOPBACK, PORT))
        with listener.accept()[0] as peer:
            peer.settimeout(60)
            assert peer.recv(100) == b"hello"
            peel_off(walls, client, peer).close()
            walls.limit("sctp", connect=[f"127.0.0.1:{PORT}"])
            assert standing_hooks(walls.directory) >= PACKETS
            assert error_of(client.sendto, b"x", (LOOPBACK, PORT)) == "EPERM"
            walls.limit("sctp")
            assert not standing_hooks(walls.directory) & PACKETS


NEAR, NOBODY = "10.99.0.1", "10.99.0.2"
_ETH_P_ALL = 3


def lead_nowhere(walls: Walls) -> None:
    """Give the namespace an interface that nobody listens to."""
    namespaces.ip("-n", walls.name, "link", "add", "nowhere", "type", "dummy")
    namespaces.ip("-n", walls.name, "address", "add", f"{NEAR}/24", "dev", "nowhere")
    namespaces.ip("-n", walls.name, "link", "set", "nowhere", "up")


def test_association_that_was_peeled_off_early_is_not_established_once_connecting_is_limited_if_both_sides_begin_it(
    walls: Walls,
) -> None:
    """The server could have named more addresses in its answer. The test plays the server."""
    walls.limit("sctp")
    lead_nowhere(walls)
    tap = socket_inside(walls.name, int(socket.AF_PACKET), int(socket.SOCK_DGRAM), socket.htons(_ETH_P_ALL))
    raw = socket_inside(walls.name, INET, int(socket.SOCK_RAW), int(socket.IPPROTO_RAW))
    with tap, raw, walls.make(*ONE_TO_MANY) as client:
        tap.bind(("nowhere", _ETH_P_ALL))
        tap.settimeout(60)
        client.setblocking(False)
        assert error_of(client.setsockopt, PROTOCOL, _CONNECTX, packed(PORT, NOBODY)) in (None, "EINPROGRESS")
        port = client.getsockname()[1]

        def say(chunk: bytes, tag: int = 0) -> None:
            addresses = socket.inet_aton(NOBODY) + socket.inet_aton(NEAR)
            header = struct.pack("!BBHHHBBH", 0x45, 0, 0, 0, 0, 64, PROTOCOL, 0) + addresses
            raw.sendto(header + sctp.packet(PORT, port, chunk, tag), (NEAR, 0))

        def hear(*kinds: int) -> bytes:
            while True:
                packet = tap.recv(2000)
                if packet[0] == 0x45 and packet[9] == PROTOCOL and packet[32] in kinds:
                    return packet[32:]

        with peel_off_inside(walls, client) as made:
            walls.limit("sctp", connect=["10.99.0.0/24:*"])
            say(sctp.init())
            answer = hear(sctp.INIT_ACK)
            cookie = sctp.cookie_echo(answer), int.from_bytes(answer[4:8], "big")
            say(*cookie)
            say(sctp.init())
            assert hear(sctp.INIT_ACK, sctp.COOKIE_ACK)[0] == sctp.INIT_ACK, "the association is established"
            walls.limit("sctp")
            say(*cookie)
            hear(sctp.COOKIE_ACK)
            walls.limit("sctp", connect=["10.99.0.0/24:*"])
            assert error_of(made.send, b"x") == "EPERM"


@pytest.mark.parametrize("connect", [None, ANY_PEER], ids=["anywhere", "limited"])
def test_one_to_one_socket_that_begins_an_association_does_not_listen(
    walls: Walls, connect: tuple[str, ...] | None
) -> None:
    """It would accept this association, which is not established yet. If connecting is limited."""
    limit = None if connect is None else ["10.99.0.0/24:*"]
    walls.limit("sctp", connect=limit, bind=None)
    lead_nowhere(walls)
    with walls.make(*ONE_TO_ONE) as client:
        client.setblocking(False)
        assert error_of(client.setsockopt, PROTOCOL, _CONNECTX, packed(PORT, NOBODY)) in (None, "EINPROGRESS")
        assert error_of(client.listen) == (None if connect is None else "EPERM")
