"""Limits of SCTP sockets: both walls together hold them, and also the sockets that they accept and peel off."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator

import pytest

from nsbrokerd.seal import Selection, install, live_sockets, revoke, running
from nsbrokerd.seal.aborting import Aborter
from nsbrokerd.seal.wall import standing_hooks
from support import sctp
from support.brokers.limited import error_of
from support.brokers.sctp_walls import (
    ANY_PEER,
    BINDX_ADD,
    CONNECTX,
    FORBIDDEN_PORT,
    INET,
    LOOPBACK,
    MADE,
    NEAR,
    NOBODY,
    ONE_TO_MANY,
    ONE_TO_ONE,
    PACKETS,
    PORT,
    PROTOCOL,
    UDP_PORT,
    lead_nowhere,
    packed,
    peel_off,
    peel_off_inside,
    sctp_walls,
    serve,
    server,
)
from support.brokers.walls import Walls
from support.far_side import socket_inside
from support.waiting import wait_until


@pytest.fixture
def walls(make_namespace: Callable[..., str]) -> Iterator[Walls]:
    if reason := sctp.why_not():
        pytest.skip(reason)
    yield from sctp_walls(make_namespace())


WAYS = {
    "connect": (ONE_TO_ONE, lambda sock, port: sock.connect((LOOPBACK, port))),
    "connectx": (ONE_TO_ONE, lambda sock, port: sock.setsockopt(PROTOCOL, CONNECTX, packed(port))),
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
        assert error_of(sock.setsockopt, PROTOCOL, CONNECTX, packed(PORT) * 2) == "EPERM"
        assert error_of(sock.setsockopt, PROTOCOL, UDP_PORT, bytes(140)) == "EPERM"


def test_socket_is_bound_only_where_the_limit_allows(walls: Walls) -> None:
    with walls.make(*ONE_TO_ONE) as sock, walls.make(*ONE_TO_ONE) as other:
        assert error_of(sock.bind, (LOOPBACK, FORBIDDEN_PORT)) == "EPERM"
        assert error_of(sock.setsockopt, PROTOCOL, BINDX_ADD, packed(FORBIDDEN_PORT)) == "EPERM"
        sock.bind((LOOPBACK, PORT))
        assert error_of(other.setsockopt, PROTOCOL, BINDX_ADD, packed(PORT, "127.0.0.2")) is None


def test_narrowing_cuts_off_a_peeled_off_socket_whose_association_its_owner_began(walls: Walls) -> None:
    """The owner chose this peer by sendto(2)."""
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
                wait_until(lambda: error_of(peer.send, b"x") is not None)


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
        assert error_of(made.setsockopt, PROTOCOL, CONNECTX, packed(PORT, "127.0.0.2")) == "EPERM"
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
        walls.seal._aborter.wait()
        walls.limit("sctp", connect=limit, bind=[f"*:{PORT}"])
        assert error_of(made.send, b"x") in ("EPERM", "EPIPE", "ECONNRESET")
        if way == "removed":
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
    """Here the association lasts as long as the socket."""
    monkeypatch.setattr(running, "_LOOK_AGAIN_S", 0)
    monkeypatch.setattr(Aborter, "start", lambda _self: None)
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


def test_listener_accepts_again_once_its_grant_is_back(walls: Walls) -> None:
    listener, peer = serve(walls, ONE_TO_ONE)
    with listener, peer, listener.accept()[0] as made:
        listener.setblocking(False)
        walls.limit("tcp", connect=[], name="another")
        assert [error_of(made.send, b"x"), error_of(listener.accept)] == ["EPERM", "EPERM"]
        walls.limit("sctp", connect=["127.0.0.0/8:*"])
        with socket_inside(walls.name, *ONE_TO_ONE) as another:
            another.connect((LOOPBACK, PORT))
            listener.settimeout(60)
            with listener.accept()[0] as again:
                again.send(b"there")
                another.settimeout(60)
                assert another.recv(100) == b"there"


SECOND, THIRD = "127.0.0.2", "127.0.0.3"


def with_two_addresses(walls: Walls, port: int = 0) -> socket.socket:
    """A socket without a limit that names both of its addresses to each peer."""
    sock = socket_inside(walls.name, *ONE_TO_ONE)
    sock.bind((SECOND, port))
    sock.setsockopt(PROTOCOL, BINDX_ADD, packed(sock.getsockname()[1], THIRD))
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
        with socket_inside(walls.name, *ONE_TO_ONE) as another:
            another.connect((LOOPBACK, PORT))
            listener.settimeout(60)
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
            lambda: listener.setsockopt(PROTOCOL, CONNECTX, packed(FORBIDDEN_PORT)),
        ):
            assert error_of(begin) == "EPERM"
        with socket_inside(walls.name, *ONE_TO_ONE) as another:
            another.connect((LOOPBACK, PORT))
            another.settimeout(60)
            peel_off(walls, listener, another).close()


def test_socket_that_has_begun_and_peeled_off_before_connecting_was_limited_is_cut_off(walls: Walls) -> None:
    """A call of peeloff can still go on. The socket is free again after the next change."""
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
            client.sendto(b"again", (LOOPBACK, PORT))


_ETH_P_ALL = 3


def test_association_that_was_peeled_off_early_is_not_established_once_connecting_is_limited_if_both_sides_begin_it(
    walls: Walls,
) -> None:
    """The server could have named more addresses in its answer. The test plays the server."""
    walls.limit("sctp")
    lead_nowhere(walls.name)
    tap = socket_inside(walls.name, int(socket.AF_PACKET), int(socket.SOCK_DGRAM), socket.htons(_ETH_P_ALL))
    raw = socket_inside(walls.name, INET, int(socket.SOCK_RAW), int(socket.IPPROTO_RAW))
    with tap, raw, walls.make(*ONE_TO_MANY) as client:
        tap.bind(("nowhere", _ETH_P_ALL))
        tap.settimeout(60)
        client.setblocking(False)
        assert error_of(client.setsockopt, PROTOCOL, CONNECTX, packed(PORT, NOBODY)) in (None, "EINPROGRESS")
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
    lead_nowhere(walls.name)
    with walls.make(*ONE_TO_ONE) as client:
        client.setblocking(False)
        assert error_of(client.setsockopt, PROTOCOL, CONNECTX, packed(PORT, NOBODY)) in (None, "EINPROGRESS")
        assert error_of(client.listen) == (None if connect is None else "EPERM")
