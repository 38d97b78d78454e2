"""A limited socket's packets take no way round: by options, forged headers, and kinds that have no ports."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest

from nsbrokerd.seal.wall import standing_hooks
from support import namespaces
from support.brokers.sealed import (
    FORBIDDEN_PORT,
    FREE,
    LIMITED,
    PORT,
    Place,
    attempt,
    check_allowed,
    check_way_out,
    open_as,
)
from support.far_side import ALLOWED_4, ALLOWED_6, FORBIDDEN_4, FORBIDDEN_6, NEAR_4

INET, INET6 = int(socket.AF_INET), int(socket.AF_INET6)
TCP = (int(socket.SOCK_STREAM), 0)
UDP = (int(socket.SOCK_DGRAM), 0)
RAW = int(socket.SOCK_RAW)
ICMP, ICMPV6, RAW_UDP = 1, 58, 17
IPPROTO_IP, IPPROTO_IPV6 = 0, 41
IP_HDRINCL, IP_OPTIONS, IP_RETOPTS, IPV6_HOPOPTS, IPV6_RTHDR, IPV6_DSTOPTS = 3, 4, 7, 54, 57, 59

SOURCE_ROUTE = bytes([0x83, 7, 4]) + socket.inet_aton(FORBIDDEN_4) + b"\0"
"""The IPv4 option by which a packet goes there first."""

RECORD_ROUTE = bytes([7, 7, 4, 0, 0, 0, 0, 0])

MOBILE = struct.pack("=BBBBI", 0, 2, 2, 1, 0) + socket.inet_pton(INET6, FORBIDDEN_6)

SEGMENTS = struct.pack("=BBBBBBH", 0, 4, 4, 1, 1, 0, 0) + bytes(16) + socket.inet_pton(INET6, FORBIDDEN_6)
"""The IPv6 routing header (SRv6) by which a packet goes there first."""


@pytest.fixture(scope="module")
def place(place: Place) -> Place:
    """Everybody may ping there."""
    namespaces.ip("netns", "exec", place.wire.near, "sh", "-c", "echo 0 65535 > /proc/sys/net/ipv4/ping_group_range")
    return place


def send_with_option(sock: socket.socket, level: int, name: int, value: bytes, address: tuple[str, int]) -> None:
    sock.setsockopt(level, name, value)
    sock.sendto(b"x", address)


def send_with_message(sock: socket.socket, level: int, name: int, value: bytes, address: tuple[str, int]) -> None:
    sock.sendmsg([b"x"], [(level, name, value)], 0, address)


def connect_with_option(sock: socket.socket, level: int, name: int, value: bytes, address: tuple[str, int]) -> None:
    sock.setsockopt(level, name, value)
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        sock.connect(address)


def test_no_packet_has_ipv4_options(place: Place) -> None:
    """Set for the socket or sent with a message: those that anybody may use."""
    for function, name in ((send_with_option, IP_OPTIONS), (send_with_message, IP_RETOPTS)):
        to = (ALLOWED_4, PORT)
        check_way_out(place, ALLOWED_4, (INET, *UDP), function, IPPROTO_IP, name, RECORD_ROUTE, to)
    check_way_out(place, ALLOWED_4, (INET, *TCP), connect_with_option, IPPROTO_IP, IP_OPTIONS, RECORD_ROUTE, to)


def test_no_packet_has_a_source_route(place: Place) -> None:
    """Of which root alone may write one."""
    check_way_out_by_root(place, FORBIDDEN_4, (INET, *UDP), send_with_option, IP_OPTIONS)
    check_way_out_by_root(place, FORBIDDEN_4, (INET, *UDP), send_with_message, IP_RETOPTS)
    check_way_out_by_root(place, FORBIDDEN_4, (INET, *TCP), connect_with_option, IP_OPTIONS)


def check_way_out_by_root(
    place: Place, seen: str, spec: tuple[int, ...], function: Callable[..., None], name: int
) -> None:
    results = []
    place.wire.destinations()
    for uid in (FREE, LIMITED):
        with open_as(place, uid, spec) as sock:
            number = 0
            try:
                function(sock, IPPROTO_IP, name, SOURCE_ROUTE, (ALLOWED_4, PORT))
            except OSError as error:
                number = error.errno or 0
            results.append((number == errno.EPERM, seen in place.wire.destinations()))
    assert results == [(False, True), (True, False)]


def test_no_packet_has_a_routing_header(place: Place) -> None:
    check_way_out(place, FORBIDDEN_6, (INET6, *UDP), send_with_option, IPPROTO_IPV6, IPV6_RTHDR, SEGMENTS,
                  (ALLOWED_6, PORT))  # fmt: skip
    check_way_out(place, FORBIDDEN_6, (INET6, *TCP), connect_with_option, IPPROTO_IPV6, IPV6_RTHDR, SEGMENTS,
                  (ALLOWED_6, PORT))  # fmt: skip
    # Sent with a message there is the one for mobile hosts alone, where the kernel has it.
    for kind, port in ((UDP, PORT), ((RAW, ICMPV6), 0)):
        message = (IPPROTO_IPV6, IPV6_RTHDR, MOBILE, (ALLOWED_6, port))
        place.wire.destinations()
        refused = attempt(place, FREE, (INET6, *kind), send_with_message, *message)
        expected = errno.EPERM if FORBIDDEN_6 in place.wire.destinations() else refused
        assert attempt(place, LIMITED, (INET6, *kind), send_with_message, *message) == expected != 0
        assert FORBIDDEN_6 not in place.wire.destinations()


PADDING = struct.pack("=BBBB4x", 0, 0, 1, 4)
"""Options for a hop or a destination: nothing but padding."""


@pytest.mark.parametrize("name", [IPV6_HOPOPTS, IPV6_DSTOPTS])
def test_no_packet_has_an_extension_header(place: Place, name: int) -> None:
    """Not even of a program of root's, which the kernel lets write them."""
    results = []
    place.wire.destinations()
    for uid in (FREE, LIMITED):
        with open_as(place, uid, (INET6, *UDP)) as sock:
            number = 0
            try:
                send_with_message(sock, IPPROTO_IPV6, name, PADDING, (ALLOWED_6, PORT))
            except OSError as error:
                number = error.errno or 0
            results.append((number, ALLOWED_6 in place.wire.destinations()))
    assert results == [(0, True), (errno.EPERM, False)]


@pytest.mark.parametrize(
    ("level", "name"),
    [*((IPPROTO_IP, name) for name in (3, 4)), *((IPPROTO_IPV6, name) for name in (5, 6, 36, 54, 55, 57, 59))],
)
def test_option_by_which_packets_go_elsewhere_is_refused_at_once(place: Place, level: int, name: int) -> None:
    """Also to a program of root's; its packets would be dropped anyhow."""
    kind = (INET, RAW, ICMP) if level == IPPROTO_IP else (INET6, RAW, ICMPV6)
    for uid, is_refused in ((FREE, False), (LIMITED, True)):
        with open_as(place, uid, kind) as sock:
            number = 0
            try:
                sock.setsockopt(level, name, b"")
            except OSError as error:
                number = error.errno or 0
        assert (number == errno.EPERM) == is_refused


def forge(sock: socket.socket, source: str, header_to: str, address: tuple[str, int]) -> None:
    """Send a packet with a header of one's own."""
    sock.setsockopt(IPPROTO_IP, IP_HDRINCL, 1)
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28, 1, 0, 64, ICMP, 0, *map(socket.inet_aton, (source, header_to)))
    sock.sendto(header + ECHO, address)


ECHO = struct.pack("!BBHHH", 8, 0, 0xF7FF, 0, 0)
ECHO_6 = struct.pack("!BBHHH", 128, 0, 0, 0, 0)


def test_header_is_not_forged(place: Place) -> None:
    check_way_out(place, FORBIDDEN_4, (INET, RAW, ICMP), forge, NEAR_4, FORBIDDEN_4, (ALLOWED_4, 0))


def send_to(sock: socket.socket, data: bytes, *address: Any) -> None:
    sock.sendto(data, address)


@pytest.mark.parametrize("kind", [(INET, int(socket.SOCK_DGRAM), ICMP), (INET, RAW, ICMP), (INET, RAW, RAW_UDP)])
def test_portless_ipv4_goes_nowhere_else(place: Place, kind: tuple[int, int, int]) -> None:
    """Ping and raw sockets: nor to an address of which only a port is listed."""
    data = ECHO if kind[2] == ICMP else struct.pack("!HHHH", PORT, FORBIDDEN_PORT, 8, 0)
    check_way_out(place, FORBIDDEN_4, kind, send_to, data, FORBIDDEN_4, 0)
    check_allowed(place, ALLOWED_4, kind, send_to, data, ALLOWED_4, 0)


@pytest.mark.parametrize("kind", [(INET6, int(socket.SOCK_DGRAM), ICMPV6), (INET6, RAW, ICMPV6)])
def test_portless_ipv6_goes_nowhere_else(place: Place, kind: tuple[int, int, int]) -> None:
    """By the first wall, the kernel drops a denied ping without an error."""
    error = "EPERM" if kind[1] == RAW or "socket_sendmsg" in standing_hooks(place.broker.seal_path) else None
    check_way_out(place, FORBIDDEN_6, kind, send_to, ECHO_6, FORBIDDEN_6, 0, error=error)
    check_allowed(place, ALLOWED_6, kind, send_to, ECHO_6, ALLOWED_6, 0)
