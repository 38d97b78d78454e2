"""A join makes the kernel send to the group, so a limited socket can join only the groups that it may send to."""

from __future__ import annotations

import errno
import socket
import struct

import pytest

from nsbrokerd.seal import Selection, revoke
from support import namespaces
from support.brokers.sealed import FREE, LIMITED, Place, attempt, open_as
from support.far_side import NEAR_4
from support.inside import call_inside
from support.socket_listing import needs_listing

INET, INET6 = int(socket.AF_INET), int(socket.AF_INET6)
UDP = (int(socket.SOCK_DGRAM), 0)
IPPROTO_IP, IPPROTO_IPV6 = 0, 41
IP_ADD_MEMBERSHIP, IP_ADD_SOURCE_MEMBERSHIP, IPV6_JOIN_GROUP, MCAST_JOIN_GROUP, MCAST_JOIN_SOURCE_GROUP = (
    35,
    39,
    20,
    42,
    46,
)

ALLOWED_4, FORBIDDEN_4 = "239.9.9.9", "239.9.9.8"
ALLOWED_6, FORBIDDEN_6 = "ff05::9:9", "ff05::9:8"


def packed(address: str) -> bytes:
    """Like a sockaddr_storage without a port."""
    if ":" in address:
        return struct.pack("=HHI16s104x", INET6, 0, 0, socket.inet_pton(INET6, address))
    return struct.pack("=HH4s120x", INET, 0, socket.inet_aton(address))


def values(group: str, index: int) -> list[tuple[int, int, int, bytes]]:
    """Every way to join it: a family of sockets, and level, name and value of an option."""
    request = struct.pack("=I4x", index) + packed(group)
    if ":" in group:
        plain = socket.inet_pton(INET6, group) + struct.pack("=I", index)
        return [
            (INET6, IPPROTO_IPV6, IPV6_JOIN_GROUP, plain),
            (INET6, IPPROTO_IPV6, MCAST_JOIN_GROUP, request),
            (INET6, IPPROTO_IPV6, MCAST_JOIN_SOURCE_GROUP, request + packed("fd09::2")),
        ]
    plain = socket.inet_aton(group) + socket.inet_aton(NEAR_4)
    return [
        (family, IPPROTO_IP, name, value)
        for family in (INET, INET6)
        for name, value in (
            (IP_ADD_MEMBERSHIP, plain),
            (IP_ADD_SOURCE_MEMBERSHIP, plain + socket.inet_aton("10.9.0.2")),
            (MCAST_JOIN_GROUP, request),
            (MCAST_JOIN_SOURCE_GROUP, request + packed("10.9.0.2")),
        )
    ]


def set_option(sock: socket.socket, level: int, name: int, value: bytes) -> None:
    sock.setsockopt(level, name, value)


@pytest.mark.parametrize(("allowed", "forbidden"), [(ALLOWED_4, FORBIDDEN_4), (ALLOWED_6, FORBIDDEN_6)])
def test_group_is_joined_only_where_it_may_be_sent_to(place: Place, allowed: str, forbidden: str) -> None:
    """By each option that joins one, of either family, whatever the port of the rule."""
    index = call_inside(place.wire.near, socket.if_nametoindex, f"{namespaces.PREFIX[4:-1]}n")
    for uid, group, expected in ((FREE, forbidden, 0), (LIMITED, allowed, 0), (LIMITED, forbidden, errno.EPERM)):
        for family, *option in values(group, index):
            assert attempt(place, uid, (family, *UDP), set_option, *option) == expected, (uid, group, option)


def test_group_can_not_be_hidden(place: Place) -> None:
    """Neither the form of a 32-bit program gets through, nor a value that the kernel would read twice."""
    hidden = struct.pack("=IHH", 0, INET, 0) + packed(ALLOWED_4)
    long = socket.inet_aton(ALLOWED_4) + socket.inet_aton(NEAR_4) + bytes(5000)
    for name, value in ((MCAST_JOIN_GROUP, hidden), (IP_ADD_MEMBERSHIP, long), (IP_ADD_MEMBERSHIP, b"xy")):
        assert attempt(place, LIMITED, (INET, *UDP), set_option, IPPROTO_IP, name, value) == errno.EPERM


@needs_listing
def test_revoked_socket_joins_nothing(place: Place) -> None:
    with open_as(place, LIMITED, (INET, *UDP)) as sock:
        revoke(place.broker.seal_path, Selection(uid=LIMITED))
        with pytest.raises(PermissionError):
            sock.setsockopt(IPPROTO_IP, IP_ADD_MEMBERSHIP, socket.inet_aton(ALLOWED_4) + socket.inet_aton(NEAR_4))
