"""A stopped socket of SCTP that the first wall does not see loses its associations, with all that it had queued."""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

from nsbrokerd.seal import Selection, abort_stopped, aborting, revoke, running, why_not_stopped
from nsbrokerd.seal.aborting import Aborter, abort_packet
from nsbrokerd.seal.live import list_associations
from nsbrokerd.seal.maps import open_maps
from nsbrokerd.seal.programs.associations import Association
from nsbrokerd.seal.wall import standing_hooks
from support import namespaces, sctp
from support.brokers.limited import error_of
from support.brokers.sctp_walls import (
    AUTH_CHUNK,
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
    lead_nowhere,
    peel_off,
    sctp_walls,
    serve,
    server,
)
from support.brokers.walls import Walls
from support.far_side import socket_inside
from support.inside import call_inside
from support.waiting import wait_until

INET6 = int(socket.AF_INET6)
SO_ATTACH_FILTER, IP_FREEBIND = 26, 15
_ETH_P_ALL = 3

Take = Callable[[Walls, socket.socket, socket.socket], socket.socket]


@pytest.fixture
def walls(make_namespace: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Walls]:
    for name in ("_LOOK_AGAIN_S", "_CALLS_END_S"):
        monkeypatch.setattr(running, name, 0)
    if reason := sctp.why_not():
        pytest.skip(reason)
    yield from sctp_walls(make_namespace())


def associations_of(walls: Walls, port: int = PORT) -> list[str]:
    """Return the lines of the associations of a local port."""
    lines: list[str] = call_inside(walls.name, sctp.associations_here, port)
    return lines


def stop(walls: Walls, way: str) -> None:
    if way == "revoked":
        assert revoke(walls.directory, Selection(grant="limited"))
        abort_stopped(walls.directory)
    else:
        walls.limit("tcp", connect=[], name="another")


def look(walls: Walls) -> bool:
    """Return whether the hooks for each packet are gone after the next look."""
    walls.seal._aborter.wait()
    walls.seal.tidy()
    return not standing_hooks(walls.directory) & PACKETS


def has_abort(tap: socket.socket) -> bool:
    """Return whether the tap has seen an ABORT."""
    tap.setblocking(False)
    while True:
        try:
            packet = tap.recv(2000)
        except BlockingIOError:
            return False
        if packet[0] == 0x45 and packet[9] == PROTOCOL and packet[32] == sctp.ABORT:
            return True


@pytest.mark.parametrize("way", ["removed", "revoked"])
@pytest.mark.parametrize(("kind", "take"), MADE, ids=["accepted", "peeled off"])
def test_socket_that_sctp_made_is_ended_and_costs_nothing_while_it_stays_open(
    walls: Walls, kind: tuple[int, ...], take: Take, way: str
) -> None:
    """The associations of its parent end, too, because a call may still go on."""
    listener, peer = serve(walls, kind)
    with ExitStack() as stack:
        peers = [stack.enter_context(socket_inside(walls.name, *ONE_TO_ONE)) for _ in range(3)]
        with listener, peer, take(walls, listener, peer) as made:
            for another in peers:
                another.connect((LOOPBACK, PORT))
            assert len(associations_of(walls)) == 4
            stop(walls, way)
            assert standing_hooks(walls.directory) >= PACKETS
            wait_until(lambda: not associations_of(walls))
            assert why_not_stopped(walls.directory) is None
            wait_until(lambda: look(walls))
            assert error_of(made.send, b"x") is not None
            assert error_of(listener.accept if kind == ONE_TO_ONE else listener.listen) == "EPERM"
            assert not associations_of(walls)
            assert not standing_hooks(walls.directory) & PACKETS


@pytest.mark.parametrize("way", ["removed", "revoked"])
def test_what_a_stopped_socket_had_queued_is_not_sent(walls: Walls, way: str) -> None:
    """The peer reads too late, so most of it waits."""
    listener, peer = serve(walls, ONE_TO_ONE)
    with listener, peer, listener.accept()[0] as made:
        made.setblocking(False)
        sent = 0
        while error_of(made.send, bytes(1000)) is None:
            sent += 1
        stop(walls, way)
        wait_until(lambda: not associations_of(walls))
        peer.setblocking(False)
        heard = 0
        while heard <= sent and error_of(peer.recv, 1000) is None:
            heard += 1
        assert 0 < heard < sent


def test_socket_that_first_wall_stops_alone_keeps_its_association(walls: Walls) -> None:
    """It goes on if the grant comes back."""
    with server(walls, PORT) as listener, walls.make(*ONE_TO_ONE) as client:
        client.connect((LOOPBACK, PORT))
        with listener.accept()[0] as peer:
            walls.limit("tcp", connect=[], name="another")
            walls.limit("sctp", connect=[f"127.0.0.1:{PORT}"])
            client.send(b"there")
            peer.settimeout(60)
            assert peer.recv(100) == b"there"


HOSTS = {
    "IPv4": (INET, NEAR),
    "IPv6": (INET6, "fd99::1"),
    "loopback of IPv6": (INET6, "::1"),
    "IPv4 of a socket of IPv6": (INET6, f"::ffff:{NEAR}"),
    "address of a link": (INET6, "fe80::99"),
}


@pytest.mark.parametrize("where", ["accepted", "in the queue"])
@pytest.mark.parametrize("which", HOSTS)
def test_each_kind_of_address_is_reached(walls: Walls, which: str, where: str) -> None:
    """The first wall sees the packets of an association that waits to be accepted."""
    family, host = HOSTS[which]
    walls.limit("sctp", bind=["*:*"])
    lead_nowhere(walls.name)
    for address in ("fd99::1/64", "fe80::99/64"):
        namespaces.ip("-n", walls.name, "address", "add", address, "dev", "nowhere", "nodad")
    scope = call_inside(walls.name, socket.if_nametoindex, "nowhere") if which == "address of a link" else 0
    here, any_port = ((host, port, 0, scope)[: 2 if family == INET else 4] for port in (PORT, 0))
    kind = family, int(socket.SOCK_STREAM), PROTOCOL
    with walls.make(*kind) as listener, socket_inside(walls.name, *kind) as peer, ExitStack() as stack:
        listener.bind(here)
        listener.listen()
        peer.bind(any_port)
        peer.settimeout(60)
        peer.connect(here)
        if where == "accepted":
            stack.enter_context(listener.accept()[0])
        wait_until(lambda: associations_of(walls))
        stop(walls, "removed")
        wait_until(lambda: not associations_of(walls))


@pytest.mark.parametrize("device", ["near", "split"])
def test_association_of_a_socket_that_is_bound_to_a_device_is_ended(
    walls: Walls, make_namespace: Callable[..., str], device: str
) -> None:
    """It takes packets of no other device."""
    far = join_far_side(walls, make_namespace)
    if device == "split":
        namespaces.ip("-n", walls.name, "link", "add", "split", "type", "vrf", "table", "10")
        namespaces.ip("-n", walls.name, "link", "set", "split", "up")
        namespaces.ip("-n", walls.name, "link", "set", "near", "master", "split")
    walls.limit("sctp", connect=["10.99.0.0/24:*"], bind=["*:*"])
    with walls.make(*ONE_TO_ONE) as listener, socket_inside(far, *ONE_TO_ONE) as peer:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        if error_of(listener.bind, (NEAR, PORT)) == "EADDRNOTAVAIL":
            pytest.skip("this kernel has no VRFs for SCTP")
        listener.listen()
        peer.settimeout(60)
        peer.connect((NEAR, PORT))
        with listener.accept()[0]:
            stop(walls, "removed")
            wait_until(lambda: not associations_of(walls))


def join_far_side(walls: Walls, make_namespace: Callable[..., str]) -> str:
    """Join the namespace to another one by a cable. Return its name."""
    far = make_namespace("far")
    namespaces.ip("link", "add", "near", "netns", walls.name, "type", "veth", "peer", "name", "far", "netns", far)
    for name, device, host in ((walls.name, "near", NEAR), (far, "far", NOBODY)):
        namespaces.ip("-n", name, "address", "add", f"{host}/24", "dev", device)
        namespaces.ip("-n", name, "link", "set", device, "up")
    return far


def test_listener_with_many_associations_loses_all(walls: Walls) -> None:
    """One list has room for 128."""
    listener, peer = serve(walls, ONE_TO_MANY)
    with listener, peer, ExitStack() as stack:
        stack.enter_context(peel_off(walls, listener, peer))
        for _ in range(150):
            stack.enter_context(socket_inside(walls.name, *ONE_TO_ONE)).connect((LOOPBACK, PORT))
        assert len(associations_of(walls)) == 151
        stop(walls, "removed")
        wait_until(lambda: not associations_of(walls))


def test_association_with_another_namespace_is_ended(walls: Walls, make_namespace: Callable[..., str]) -> None:
    """The packet has the peer's address, and never leaves. The kernel tells the peer, once it sends."""
    far = join_far_side(walls, make_namespace)
    walls.limit("sctp", connect=["10.99.0.0/24:*"], bind=["*:*"])
    tap = socket_inside(far, int(socket.AF_PACKET), int(socket.SOCK_DGRAM), socket.htons(_ETH_P_ALL))
    with tap, walls.make(*ONE_TO_ONE) as listener, socket_inside(far, *ONE_TO_ONE) as peer:
        listener.bind((NEAR, PORT))
        listener.listen()
        peer.settimeout(60)
        peer.connect((NEAR, PORT))
        with listener.accept()[0]:
            listener.close()
            tap.bind(("far", _ETH_P_ALL))
            stop(walls, "removed")
            wait_until(lambda: not associations_of(walls))
            assert not has_abort(tap)
            assert error_of(peer.send, b"x") is None
            wait_until(lambda: error_of(peer.send, b"x") in ("ECONNRESET", "EPIPE"))


def test_nothing_leaves_the_namespace_if_an_address_is_gone(walls: Walls) -> None:
    """Then the association can't be ended, and the hooks for each packet stay."""
    walls.limit("sctp", connect=["10.99.0.0/24:*"], bind=["*:*"])
    lead_nowhere(walls.name)
    namespaces.ip("-n", walls.name, "address", "add", "10.99.0.9/24", "dev", "nowhere")
    tap = socket_inside(walls.name, int(socket.AF_PACKET), int(socket.SOCK_DGRAM), socket.htons(_ETH_P_ALL))
    with tap, walls.make(*ONE_TO_ONE) as listener, socket_inside(walls.name, *ONE_TO_ONE) as peer:
        listener.bind(("10.99.0.9", PORT))
        listener.listen()
        peer.bind((NEAR, 0))
        peer.settimeout(60)
        peer.connect(("10.99.0.9", PORT))
        with listener.accept()[0] as made:
            tap.bind(("nowhere", _ETH_P_ALL))
            namespaces.ip("-n", walls.name, "address", "delete", "10.99.0.9/24", "dev", "nowhere")
            stop(walls, "revoked")
            assert "associations of sctp can't be aborted (1)" in str(why_not_stopped(walls.directory))
            for _ in range(3):
                assert not look(walls)
            assert error_of(made.send, b"x") == "EPERM"
            assert not has_abort(tap)


@pytest.mark.parametrize(("own", "is_sent"), [(NEAR, True), (NOBODY, False)])
def test_packet_is_sent_only_to_an_address_of_its_namespace(
    make_namespace: Callable[..., str], own: str, is_sent: bool
) -> None:
    """Also on a kernel without SCTP. The packet has the address of the peer, and stays on the loopback."""
    name = make_namespace()
    namespaces.ip("-n", name, "link", "add", "near", "type", "veth", "peer", "name", "far")
    namespaces.ip("-n", name, "address", "add", f"{NEAR}/24", "dev", "near")
    for device in ("near", "far"):
        namespaces.ip("-n", name, "link", "set", device, "up")
    namespaces.ip("-n", name, "neighbor", "add", NOBODY, "lladdr", "02:00:00:00:00:01", "dev", "near")
    addresses = ((struct.pack("=H", INET) + struct.pack("!H", PORT) + socket.inet_aton(host)) for host in (NOBODY, own))
    peer, here = (one.ljust(28, b"\0") for one in addresses)
    tap = socket_inside(name, int(socket.AF_PACKET), int(socket.SOCK_DGRAM), socket.htons(_ETH_P_ALL))
    with tap:
        call_inside(name, aborting._abort, Association(1, 7, 3, PORT, 0, peer, here))
        assert has_abort(tap) == is_sent


def test_stopped_socket_hears_an_abort_only_if_it_has_no_cause(walls: Walls, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cause can have data of the peer."""
    monkeypatch.setattr(Aborter, "start", lambda _self: None)
    listener, peer = serve(walls, ONE_TO_ONE)
    raw = socket_inside(walls.name, INET, int(socket.SOCK_RAW), int(socket.IPPROTO_RAW))
    with listener, peer, raw, closing(open_maps(walls.directory)) as maps:
        stop(walls, "removed")
        (one,) = list_associations(maps)
        empty = abort_packet(one)
        cause = struct.pack("!BBHHH", sctp.ABORT, 0, 12, 12, 8) + b"data"
        (peer_port,) = struct.unpack_from("!H", empty, 20)
        tap = socket_inside(walls.name, int(socket.AF_PACKET), int(socket.SOCK_DGRAM), socket.htons(_ETH_P_ALL))
        with tap:
            raw.sendto(empty[:20] + sctp.packet(peer_port, PORT, cause, one.tag), (LOOPBACK, 0))
            wait_until(lambda: has_abort(tap))
        assert list_associations(maps)
        raw.sendto(empty, (LOOPBACK, 0))
        wait_until(lambda: not list_associations(maps))


_FILTER = struct.pack("=HBBI", 6, 0, 0, 0xFFFF)
"""Lets each packet in: BPF_RET with a length."""


def test_limited_socket_has_no_option_by_which_it_ignores_an_abort(walls: Walls) -> None:
    listener, peer = serve(walls, ONE_TO_ONE)
    place = ctypes.create_string_buffer(_FILTER)
    program = struct.pack("=H6xQ", 1, ctypes.addressof(place))
    with listener, peer, listener.accept()[0] as made:
        for sock in (listener, made):
            for level, option, value in (
                (PROTOCOL, AUTH_CHUNK, bytes([sctp.ABORT])),
                (socket.SOL_SOCKET, SO_ATTACH_FILTER, program),
                (socket.IPPROTO_IP, IP_FREEBIND, struct.pack("=I", 1)),
            ):
                assert error_of(sock.setsockopt, level, option, value) == "EPERM"
        with socket_inside(walls.name, *ONE_TO_ONE) as free:
            free.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


def test_ended_associations_that_nobody_accepts_hide_no_other_one(walls: Walls) -> None:
    """The kernel keeps them in the listener's list."""
    walls.limit("sctp", connect=["127.0.0.0/8:*"], bind=[f"*:{PORT}"])
    with walls.make(*ONE_TO_ONE) as listener, ExitStack() as stack:
        listener.bind((LOOPBACK, PORT))
        listener.listen(1000)
        for _ in range(140):
            with socket_inside(walls.name, *ONE_TO_ONE) as another:
                another.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, 0))
                another.connect((LOOPBACK, PORT))
        stack.enter_context(socket_inside(walls.name, *ONE_TO_ONE)).connect((LOOPBACK, PORT))
        stop(walls, "removed")
        for _ in range(5):
            assert not look(walls) or not associations_of(walls)


def test_socket_of_both_roles_keeps_the_hooks_for_each_packet(walls: Walls) -> None:
    """A call can begin an association that no list shows, and another call can peel it off."""
    walls.limit("sctp")
    with server(walls, PORT) as listener, walls.make(*ONE_TO_MANY) as client:
        client.sendto(b"hello", (LOOPBACK, PORT))
        with listener.accept()[0] as peer:
            peer.settimeout(60)
            assert peer.recv(100) == b"hello"
            peel_off(walls, client, peer).close()
            stop(walls, "removed")
            wait_until(lambda: not associations_of(walls))
            for _ in range(5):
                assert not look(walls)
