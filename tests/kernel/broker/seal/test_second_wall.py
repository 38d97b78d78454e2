"""Calls that the first wall misses. Each test says what holds with both walls, and with the first one alone.

The tests use the seal itself, without a broker, because they also run under emulation.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator

import pytest

from nsbrokerd.policy import Limit
from nsbrokerd.seal import Selection, install, revoke
from nsbrokerd.seal.wall import missing_hooks, standing_hooks
from support import namespaces
from support.brokers.limited import error_of
from support.brokers.walls import Walls, grant
from support.far_side import socket_inside
from support.narrow_calls import NarrowCalls
from support.socket_listing import needs_listing
from support.udplite import needs_udplite
from support.waiting import wait_until

INET = int(socket.AF_INET)
STREAM, DGRAM, RAW = int(socket.SOCK_STREAM), int(socket.SOCK_DGRAM), int(socket.SOCK_RAW)
TCP, UDP = (INET, STREAM), (INET, DGRAM)
UDPLITE, UDPLITE_6 = (INET, DGRAM, 136), (int(socket.AF_INET6), DGRAM, 136)
RAW_UDP, PING = (INET, RAW, 17), (INET, DGRAM, 1)
LOOPBACK, PORT, FORBIDDEN_PORT = "127.0.0.1", 5000, 5001
GROUP = "239.9.9.9"
_FASTOPEN_CONNECT, _FASTOPEN_NO_COOKIE = 30, 34


@pytest.fixture
def walls(make_namespace: Callable[..., str]) -> Iterator[Walls]:
    made = Walls(make_namespace())
    yield made
    made.close()


def listening(name: str, port: int = PORT, host: str = LOOPBACK) -> socket.socket:
    sock = socket_inside(name, *TCP)
    sock.bind((host, port))
    sock.listen()
    sock.settimeout(30)
    return sock


REMOVED = "removed", "narrowed", "revoked"


def take_away(walls: Walls, way: str, *kinds: str) -> None:
    """Remove the grant, narrow it so that it covers nothing any more, or revoke its sockets."""
    if way == "revoked":
        assert revoke(walls.directory, Selection(grant="limited"))
    elif way == "narrowed":
        walls.limit(*kinds, connect=[], bind=[])
    else:
        walls.use(grant("another", *kinds, limit=Limit((), ())))


@pytest.mark.parametrize("way", REMOVED)
@needs_listing
def test_deferred_connect_opens_no_connection_when_the_grant_is_taken_away(walls: Walls, way: str) -> None:
    """With fast open, connect(2) only notes the peer, and the first data opens the connection. With either wall."""
    walls.limit("tcp", connect=[f"*:{PORT}"])
    with listening(walls.name) as listener, walls.make(*TCP) as tcp:
        tcp.setsockopt(socket.IPPROTO_TCP, _FASTOPEN_NO_COOKIE, 1)
        tcp.setsockopt(socket.IPPROTO_TCP, _FASTOPEN_CONNECT, 1)
        tcp.connect((LOOPBACK, PORT))
        take_away(walls, way, "tcp")
        tcp.settimeout(1)
        tcp.setblocking(False)
        error_of(tcp.send, b"x")
        with socket_inside(walls.name, *TCP) as marker:
            marker.connect((LOOPBACK, PORT))
            accepted, address = listener.accept()
            accepted.close()
            assert address == marker.getsockname()


@pytest.mark.parametrize("way", REMOVED)
@needs_listing
def test_bound_socket_and_listener_serve_nobody_when_the_grant_is_taken_away(walls: Walls, way: str) -> None:
    """With the first wall alone, listen() succeeds, but no packet comes in for a grant that is gone."""
    walls.limit("tcp", bind=["*:*"])
    with walls.make(*TCP) as bound, walls.make(*TCP) as listener, walls.make(*TCP) as queued:
        for sock, port in ((bound, PORT), (listener, PORT + 1), (queued, PORT + 2)):
            sock.bind((LOOPBACK, port))
        listener.listen()
        queued.listen()
        with socket_inside(walls.name, *TCP) as peer, socket_inside(walls.name, *TCP) as early:
            early.connect((LOOPBACK, PORT + 2))
            take_away(walls, way, "tcp")
            if walls.both:
                assert error_of(bound.listen) == "EPERM"
                assert error_of(listener.listen) == "EPERM"
                assert error_of(queued.accept) == "EPERM"
            if way == "narrowed" and not walls.both:
                return  # the first wall asks for the address only when the socket is bound
            peer.setblocking(False)
            assert error_of(peer.connect, (LOOPBACK, PORT + 1)) == "EINPROGRESS"
            listener.setblocking(False)
            assert error_of(listener.accept) == ("EPERM" if walls.both else "EAGAIN")


@pytest.mark.parametrize("way", REMOVED)
@pytest.mark.parametrize("kind", [TCP, UDP, pytest.param(UDPLITE, marks=needs_udplite)], ids=["tcp", "udp", "udplite"])
@needs_listing
def test_connected_socket_is_cut_off_when_the_grant_is_taken_away(
    walls: Walls, kind: tuple[int, ...], way: str
) -> None:
    """Its packets stop at once. If the grant comes back, they go on. With either wall."""
    kinds = ("tcp", "udp", "udplite")
    walls.limit(*kinds, connect=[f"*:{PORT}"])
    with socket_inside(walls.name, *kind) as server, walls.make(*kind) as client:
        server.settimeout(30)
        server.bind((LOOPBACK, PORT))
        if kind == TCP:
            server.listen()
        client.connect((LOOPBACK, PORT))
        peer = server.accept()[0] if kind == TCP else server
        with peer:
            peer.settimeout(60)
            client.send(b"before")
            assert peer.recv(100) == b"before"
            take_away(walls, way, *kinds)
            error = error_of(client.send, b"during")
            assert error == "EPERM" or kind == TCP
            peer.setblocking(False)
            assert error_of(peer.recv, 100) == "EAGAIN"
            if way == "revoked":
                return
            walls.limit(*kinds, connect=[f"*:{PORT}"])
            client.send(b"after")
            peer.settimeout(60)
            received = b""
            while not received.endswith(b"after"):
                received += peer.recv(100)


def make_interface(name: str) -> None:
    namespaces.ip("-n", name, "link", "add", "d0", "type", "veth", "peer", "name", "d1")
    namespaces.ip("-n", name, "address", "add", "10.7.7.1/24", "broadcast", "10.7.7.255", "dev", "d0")
    namespaces.ip("-n", name, "link", "set", "d0", "up")
    namespaces.ip("-n", name, "link", "set", "d1", "up")
    namespaces.ip("-n", name, "route", "add", "default", "dev", "d0")


OPTIONS = {
    "join": (UDP, socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP) + bytes(4)),
    "header": (RAW_UDP, socket.IPPROTO_IP, 3, struct.pack("=i", 1)),
    "options": (UDP, socket.IPPROTO_IP, 4, b"\1\1\1\1"),
    "broadcast": (RAW_UDP, socket.SOL_SOCKET, socket.SO_BROADCAST, struct.pack("=i", 1)),
    "loop": (RAW_UDP, socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, struct.pack("=i", 1)),
    "broadcast of icmp": (PING, socket.SOL_SOCKET, socket.SO_BROADCAST, struct.pack("=i", 1)),
    "loop of icmp": (PING, socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, struct.pack("=i", 1)),
}
_OF_UDPLITE = {
    "broadcast of udplite": (UDPLITE, socket.SOL_SOCKET, socket.SO_BROADCAST, struct.pack("=i", 1)),
    "loop of udplite": (UDPLITE, socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, struct.pack("=i", 1)),
    "loop of udplite of IPv6": (UDPLITE_6, socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, struct.pack("=i", 1)),
}


@pytest.mark.parametrize("option", [*OPTIONS, *(pytest.param(name, marks=needs_udplite) for name in _OF_UDPLITE)])
def test_caller_of_32_bits_sets_no_option_that_the_limit_refuses(walls: Walls, option: str) -> None:
    """The kernel skips the first wall's program for int 0x80."""
    walls.limit("udp", "icmp", "raw:udp", "udplite", connect=["127.0.0.1:*"])
    kind, level, name, value = (OPTIONS | _OF_UDPLITE)[option]
    narrow = NarrowCalls()
    make_interface(walls.name)
    namespaces.ip("netns", "exec", walls.name, "sh", "-c", "echo 0 65535 > /proc/sys/net/ipv4/ping_group_range")
    with socket_inside(walls.name, *kind) as free, walls.make(*kind) as limited:
        assert narrow.setsockopt(free.fileno(), level, name, value) == 0, "the test shows nothing"
        assert error_of(limited.setsockopt, level, name, value) == "EPERM"
        assert narrow.setsockopt(limited.fileno(), level, name, value) == (-errno.EPERM if walls.both else 0)
        assert narrow.setsockopt(limited.fileno(), socket.SOL_SOCKET, socket.SO_RCVBUF, struct.pack("=i", 4096)) == 0


@needs_listing
def test_revoked_listener_can_not_listen_again(walls: Walls) -> None:
    walls.limit("tcp", bind=[f"*:{PORT}"])
    with walls.make(*TCP) as listener:
        listener.bind((LOOPBACK, PORT))
        listener.listen()
        assert revoke(walls.directory, Selection(grant="limited"))
        assert error_of(listener.listen) == ("EPERM" if walls.both else None)


def test_wall_has_only_the_programs_that_limits_in_force_or_sockets_in_use_need(walls: Walls) -> None:
    def standing() -> set[str]:
        return standing_hooks(walls.directory) - {"uring_cmd"}

    connections = {"socket_connect", "socket_bind", "socket_listen", "socket_accept"}
    walls.use(grant("free", "tcp", "udplite", limit=None))
    assert standing() == set()
    walls.limit("udp")
    assert standing() == ({"socket_setsockopt"} if walls.both else set())
    walls.limit("udp", "tcp")
    if not walls.both:
        assert standing() == set()
        return
    assert standing() == {"socket_setsockopt", *connections}
    walls.limit("udplite", connect=[])
    assert standing() == {"socket_setsockopt"}
    with walls.make(*TCP):
        walls.use(grant("free", "tcp", limit=None))
        assert standing() == {"socket_setsockopt", *connections}

    def is_empty() -> bool:
        walls.use(grant("free", "tcp", limit=None))
        return standing() == set()

    wait_until(is_empty)


def test_wall_outlives_the_broker_and_the_next_one_replaces_it(walls: Walls) -> None:
    """Each hook has one program before and after."""
    walls.limit("tcp", bind=[f"*:{PORT}"])
    if not walls.both:
        pytest.skip(f"this kernel has only the first wall: {walls.seal.why_alone}")
    with walls.make(*TCP) as listener:
        listener.bind((LOOPBACK, PORT))
        before = standing_hooks(walls.directory)
        walls.seal.close()
        assert revoke(walls.directory, Selection(grant="limited"))
        assert error_of(listener.listen) == "EPERM"
        walls.seal = install(walls.directory)
        walls.limit("tcp", bind=[f"*:{PORT}"])
        assert error_of(listener.listen) == "EPERM"
        assert standing_hooks(walls.directory) == before
        assert not [name for name in os.listdir(walls.directory) if name.startswith("new_")]


@needs_listing
def test_revoke_leaves_no_hook_that_its_sockets_do_not_need(walls: Walls) -> None:
    walls.limit("tcp")
    with walls.make(*TCP):
        before = standing_hooks(walls.directory)
        assert revoke(walls.directory, Selection(grant="limited"))
        assert standing_hooks(walls.directory) == before
        assert not [name for name in os.listdir(walls.directory) if name.startswith("new_")]


def test_without_its_pins_the_first_wall_holds_and_a_reload_repairs_the_second(walls: Walls) -> None:
    walls.limit("tcp", connect=[f"*:{PORT}"], bind=[f"*:{PORT}"])
    if not walls.both:
        pytest.skip(f"this kernel has only the first wall: {walls.seal.why_alone}")
    with walls.make(*TCP) as listener, walls.make(*TCP) as client:
        listener.bind((LOOPBACK, PORT))
        assert missing_hooks(walls.directory, {"tcp"}) == set()
        (walls.directory / "hook_socket_listen").unlink()
        assert missing_hooks(walls.directory, {"tcp"}) == {"socket_listen"}
        assert error_of(client.connect, (LOOPBACK, FORBIDDEN_PORT)) == "EPERM"
        assert error_of(client.bind, (LOOPBACK, FORBIDDEN_PORT)) == "EPERM"
        walls.limit("tcp", bind=[f"*:{FORBIDDEN_PORT}"])
        assert missing_hooks(walls.directory, {"tcp"}) == set()
        assert error_of(listener.listen) == "EPERM"
