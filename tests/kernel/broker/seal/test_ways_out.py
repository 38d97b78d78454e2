"""A limited socket goes nowhere else: every way that is known is tried, and the other side of the cable looked at."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import socket
import struct
from typing import Any

import pytest

from support.brokers.sealed import FORBIDDEN_PORT, FREE, PORT, Place, attempt, check_way_out, disconnect
from support.far_side import ALLOWED_4, ALLOWED_6, FORBIDDEN_4, FORBIDDEN_6, Way
from support.udplite import needs_udplite

TCP = (int(socket.SOCK_STREAM), 0)
UDP = (int(socket.SOCK_DGRAM), 0)
UDPLITE = (int(socket.SOCK_DGRAM), 136)
MPTCP = (int(socket.SOCK_STREAM), 262)
MSG_FASTOPEN, TCP_FASTOPEN_CONNECT = 0x20000000, 30


def connect(sock: socket.socket, *addresses: tuple[str, int] | None) -> None:
    """Connect to one address after another. All but the last can fail, and None disconnects."""
    for address in addresses[:-1]:
        with contextlib.suppress(OSError):
            if address is None:
                disconnect(sock)
            else:
                sock.connect(address)
    assert addresses[-1] is not None
    sock.connect(addresses[-1])


def listen_then_dial(sock: socket.socket, address: tuple[str, int]) -> None:
    sock.listen()
    sock.shutdown(socket.SHUT_RDWR)
    sock.connect(address)


def send_to(sock: socket.socket, connected: tuple[str, int] | None, address: tuple[str, int]) -> None:
    if connected is not None:
        sock.connect(connected)
    sock.sendto(b"x", address)


def send_message(sock: socket.socket, connected: tuple[str, int], address: tuple[str, int]) -> None:
    sock.connect(connected)
    sock.sendmsg([b"x"], [], 0, address)


def send_many(sock: socket.socket, connected: tuple[str, int], *address: Any) -> None:
    """By sendmmsg, with the address written by hand."""
    sock.connect(connected)
    name = ctypes.create_string_buffer(raw_address(*address))
    data = ctypes.create_string_buffer(b"x")
    vector = ctypes.create_string_buffer(struct.pack("=QQ", ctypes.addressof(data), 1))
    header = struct.pack("=QIIQQQQIIII", ctypes.addressof(name), 28, 0, ctypes.addressof(vector), 1, 0, 0, 0, 0, 0, 0)
    check(ctypes.CDLL(None, use_errno=True).sendmmsg(sock.fileno(), ctypes.create_string_buffer(header), 1, 0))


def raw_address(family: int, host: str, port: int) -> bytes:
    """Like a sockaddr_in or sockaddr_in6, with any number as its family."""
    if ":" in host:
        return struct.pack("=H2sI16sI", family, struct.pack("!H", port), 0, socket.inet_pton(socket.AF_INET6, host), 0)
    return struct.pack("=H2s4s20x", family, struct.pack("!H", port), socket.inet_aton(host))


def check(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")


def send_raw(sock: socket.socket, *address: Any) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    check(libc.sendto(sock.fileno(), b"x", 1, 0, raw_address(*address), 28))


def connect_raw(sock: socket.socket, *address: Any) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    check(libc.connect(sock.fileno(), raw_address(*address), 28))
    sock.send(b"x")


def become_ipv4(sock: socket.socket, allowed: str, forbidden: str) -> None:
    """Turn a socket for IPv6 into one for IPv4, by IPV6_ADDRFORM."""
    sock.connect((f"::ffff:{allowed}", PORT))
    sock.setsockopt(socket.IPPROTO_IPV6, 1, int(socket.AF_INET))
    send_raw(sock, int(socket.AF_INET), forbidden, PORT)


def fast_open(sock: socket.socket, address: tuple[str, int]) -> None:
    sock.sendto(b"x", MSG_FASTOPEN, address)


def fast_open_by_connect(sock: socket.socket, address: tuple[str, int]) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
    sock.connect(address)
    sock.send(b"x")


@pytest.mark.parametrize("port", [PORT, FORBIDDEN_PORT])
def test_tcp_connects_nowhere_else(place: Place, way: Way, port: int) -> None:
    """To an address that is not listed, whatever the port."""
    check_way_out(place, way.forbidden, (way.family, *TCP), connect, (way.forbidden, port))


def test_tcp_connects_to_no_other_port(place: Place, way: Way) -> None:
    check_way_out(place, way.allowed, (way.family, *TCP), connect, (way.allowed, FORBIDDEN_PORT))


@pytest.mark.parametrize("kind", [TCP, UDP, MPTCP], ids=["tcp", "udp", "mptcp"])
def test_reconnecting_leads_nowhere_else(place: Place, way: Way, kind: tuple[int, int]) -> None:
    """After a connection that is allowed was undone by AF_UNSPEC."""
    target = (way.forbidden, PORT)
    check_way_out(place, way.forbidden, (way.family, *kind), connect_and_send, (way.allowed, PORT), None, target)


def connect_and_send(sock: socket.socket, *addresses: tuple[str, int] | None) -> None:
    connect(sock, *addresses)
    sock.send(b"x")


@pytest.mark.parametrize("kind", [TCP, MPTCP], ids=["tcp", "mptcp"])
def test_listener_does_not_dial_out(place: Place, way: Way, kind: tuple[int, int]) -> None:
    """After its shutdown it is a socket as any other."""
    check_way_out(place, way.forbidden, (way.family, *kind), listen_then_dial, (way.forbidden, PORT))


@pytest.mark.parametrize("kind", [TCP, MPTCP], ids=["tcp", "mptcp"])
@pytest.mark.parametrize("function", [fast_open, fast_open_by_connect])
def test_fast_open_leads_nowhere_else(place: Place, way: Way, function: Any, kind: tuple[int, int]) -> None:
    spec, address = (way.family, *kind), (way.forbidden, PORT)
    if kind == MPTCP and attempt(place, FREE, spec, function, address) == errno.EOPNOTSUPP:
        pytest.skip("this kernel has no fast open for MPTCP by MSG_FASTOPEN: EOPNOTSUPP for everybody")
    check_way_out(place, way.forbidden, spec, function, address)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNSPEC])
def test_family_that_the_user_writes_does_not_count(place: Place, family: int) -> None:
    """An address of IPv4 is taken by sockets of either family, and of IPv4 sockets without saying its family."""
    own = socket.AF_INET6 if family == socket.AF_INET6 else socket.AF_INET
    host = FORBIDDEN_6 if family == socket.AF_INET6 else FORBIDDEN_4
    check_way_out(place, host, (own, *UDP), send_raw, family, host, PORT)
    check_way_out(place, host, (own, *UDP), send_many, (_allowed(host), PORT), family, host, PORT)
    if family == socket.AF_INET:
        check_way_out(place, host, (socket.AF_INET6, *UDP), send_raw, family, host, PORT)
        check_way_out(place, host, (socket.AF_INET6, *UDP), connect_raw, family, host, PORT)
        check_way_out(place, host, (socket.AF_INET6, *UDP), become_ipv4, ALLOWED_4, host)


def _allowed(host: str) -> str:
    return ALLOWED_6 if ":" in host else ALLOWED_4


def test_mptcp_connects_nowhere_else(place: Place, way: Way) -> None:
    check_way_out(place, way.forbidden, (way.family, *MPTCP), connect, (way.forbidden, PORT))
    check_way_out(place, way.allowed, (way.family, *MPTCP), connect, (way.allowed, FORBIDDEN_PORT))


@pytest.mark.parametrize("kind", [UDP, pytest.param(UDPLITE, marks=needs_udplite)], ids=["udp", "udplite"])
def test_datagrams_go_nowhere_else(place: Place, way: Way, kind: tuple[int, int]) -> None:
    """The ways are sendto and sendmsg, connected or not, and connect with send."""
    spec, allowed, forbidden = (way.family, *kind), (way.allowed, PORT), (way.forbidden, PORT)
    check_way_out(place, way.forbidden, spec, send_to, None, forbidden)
    check_way_out(place, way.forbidden, spec, send_to, allowed, forbidden)
    check_way_out(place, way.forbidden, spec, send_message, allowed, forbidden)
    check_way_out(place, way.forbidden, spec, connect_and_send, forbidden)
    check_way_out(place, way.allowed, spec, send_to, None, (way.allowed, FORBIDDEN_PORT))
    check_way_out(place, way.allowed, spec, connect_and_send, (way.allowed, FORBIDDEN_PORT))
