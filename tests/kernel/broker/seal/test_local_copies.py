"""A packet that a limited socket may not send does not reach its own namespace either, as a copy of the kernel's."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator

import pytest

from support import namespaces
from support.brokers.sealed import FREE, LIMITED, PORT, Place, attempt, open_as
from support.far_side import NEAR_4, socket_inside
from support.udplite import UDPLITE, needs_udplite

INET, INET6 = int(socket.AF_INET), int(socket.AF_INET6)
RAW, DGRAM = int(socket.SOCK_RAW), int(socket.SOCK_DGRAM)
ICMP, UDP = int(socket.IPPROTO_ICMP), int(socket.IPPROTO_UDP)
GROUP, BROADCAST, EVERYBODY = "239.1.2.3", "10.9.0.255", "255.255.255.255"
COVERED = "239.9.9.9"
"""A group that the limit covers."""
HEADER_BYTES = 20

ECHO = struct.pack("!BBHHH", 8, 0, 0xF7FE, 0, 1)
"""The checksum is right if no data follows."""
DATAGRAM = struct.pack("!HHHH", 4000, 4000, 8, 0)


@pytest.fixture(scope="module")
def place(place: Place) -> Place:
    """Everybody may ping there."""
    namespaces.ip("netns", "exec", place.wire.near, "sh", "-c", "echo 0 65535 > /proc/sys/net/ipv4/ping_group_range")
    return place


class Tap:
    """All of a protocol that sockets of the near namespace get."""

    def __init__(self, place: Place, protocol: int) -> None:
        self.sock = socket_inside(place.wire.near, INET, RAW, protocol)
        for group in (GROUP, COVERED):
            self.sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, _joined(group))
        self.sock.settimeout(30)
        self._packet = (ECHO if protocol == ICMP else DATAGRAM) + b"marker"

    def destinations(self) -> list[str]:
        """Return the destinations of the packets since the last call, which a marker ends."""
        self.sock.sendto(self._packet, ("127.0.0.1", 0))
        found = []
        while not (packet := self.sock.recv(65536)).endswith(b"marker"):
            found.append(socket.inet_ntoa(packet[16:20]))
        return found


@pytest.fixture
def tap(place: Place, kind: tuple[int, int]) -> Iterator[Tap]:
    made = Tap(place, kind[1])
    yield made
    made.sock.close()


def _joined(group: str) -> bytes:
    return socket.inet_aton(group) + socket.inet_aton(NEAR_4)


def send(sock: socket.socket, packet: bytes, address: str) -> None:
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(NEAR_4))
    if address != GROUP:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.bind((NEAR_4, 0))
    sock.sendto(packet, (address, 0))


KINDS = [(RAW, UDP), (RAW, ICMP), (DGRAM, ICMP)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("address", [GROUP, BROADCAST, EVERYBODY])
def test_forbidden_group_or_broadcast_is_not_heard_nearby(
    place: Place, tap: Tap, kind: tuple[int, int], address: str
) -> None:
    """The kernel makes copies for the own host before it asks about the packet."""
    packet = DATAGRAM if kind[1] == UDP else ECHO
    assert attempt(place, FREE, (INET, *kind), send, packet, address) == 0
    assert address in tap.destinations(), "the test shows nothing: an unlimited socket is not heard"
    assert attempt(place, LIMITED, (INET, *kind), send, packet, address) == errno.EPERM
    assert address not in tap.destinations()


@pytest.mark.parametrize("kind", KINDS)
def test_copies_can_be_turned_off_but_not_on(place: Place, kind: tuple[int, int]) -> None:
    """In each length that the kernel takes."""
    with open_as(place, LIMITED, (INET, *kind)) as sock:
        assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP) == 0
        for level, name in ((socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP), (socket.SOL_SOCKET, socket.SO_BROADCAST)):
            sock.setsockopt(level, name, 0)
            for on in (1, b"\1", b"\0\1\0\0", struct.pack("=ii", 1, 0), b"\1" + 5000 * b"\0"):
                with pytest.raises(PermissionError):
                    sock.setsockopt(level, name, on)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, b"\0")


def send_by_udplite(sock: socket.socket, address: str, way: str) -> None:
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(NEAR_4))
    if address == BROADCAST:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    place = (address if sock.family == INET else f"::ffff:{address}", PORT)
    if way == "connected":
        sock.connect(place)
        sock.send(b"x")
    else:
        sock.sendto(b"x", place)


@pytest.mark.parametrize("way", ["sent", "connected"])
@pytest.mark.parametrize("family", [INET, INET6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize(("address", "number"), [(GROUP, errno.EPERM), (COVERED, 0), (BROADCAST, errno.EPERM)])
@needs_udplite
def test_udplite_is_not_heard_nearby(place: Place, family: int, address: str, number: int, way: str) -> None:
    """Not even where its limit covers the group: see `g-limit-local-copies`. A socket of IPv6 can send IPv4, too."""
    tap = Tap(place, UDPLITE)
    with tap.sock:
        assert attempt(place, FREE, (family, DGRAM, UDPLITE), send_by_udplite, address, way) == 0
        assert address in tap.destinations(), "the test shows nothing: an unlimited socket is not heard"
        assert attempt(place, LIMITED, (family, DGRAM, UDPLITE), send_by_udplite, address, way) == number
        assert address not in tap.destinations()


@pytest.mark.parametrize("family", [INET, INET6], ids=["IPv4", "IPv6"])
@needs_udplite
def test_copies_of_udplite_can_be_turned_off_but_not_on(place: Place, family: int) -> None:
    """Unlike those of another socket of IPv6."""
    version_6 = (socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP)
    loops = [(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP)] + [version_6] * (family == INET6)
    with open_as(place, LIMITED, (family, DGRAM, UDPLITE)) as sock:
        assert [sock.getsockopt(*loop) for loop in loops] == [0] * len(loops)
        for option in (*loops, (socket.SOL_SOCKET, socket.SO_BROADCAST)):
            sock.setsockopt(*option, 0)
            for on in (1, b"\1\0\0\0\0", b"\1" + 5000 * b"\0"):
                with pytest.raises(PermissionError):
                    sock.setsockopt(*option, on)
    with open_as(place, LIMITED, (INET6, RAW, int(socket.IPPROTO_ICMPV6))) as sock:
        sock.setsockopt(*version_6, 1)
