"""A limited socket goes nowhere else: every way that is known is tried, and the other side of the cable looked at."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest

import namespaces
from far_side import WAYS, Way
from sealed import FORBIDDEN_PORT, PORT, Place, check_way_out, disconnect, sealed_place

TCP = (int(socket.SOCK_STREAM), 0)
UDP = (int(socket.SOCK_DGRAM), 0)
UDPLITE = (int(socket.SOCK_DGRAM), 136)
MPTCP = (int(socket.SOCK_STREAM), 262)
MSG_FASTOPEN, TCP_FASTOPEN_CONNECT = 0x20000000, 30


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    if reason := namespaces.why_not():
        pytest.skip(reason)
    with sealed_place() as made:
        yield made


@pytest.fixture(params=list(WAYS.values()), ids=list(WAYS))
def way(request: pytest.FixtureRequest) -> Way:
    found: Way = request.param
    return found


def connect(sock: socket.socket, *addresses: tuple[str, int] | None) -> None:
    """Connect to the one after the other: all but the last may fail, None undoes it."""
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


@pytest.mark.parametrize("kind", [TCP, UDP], ids=["tcp", "udp"])
def test_reconnecting_leads_nowhere_else(place: Place, way: Way, kind: tuple[int, int]) -> None:
    """After a connection that is allowed was undone by AF_UNSPEC."""
    target = (way.forbidden, PORT)
    check_way_out(place, way.forbidden, (way.family, *kind), connect_and_send, (way.allowed, PORT), None, target)


def connect_and_send(sock: socket.socket, *addresses: tuple[str, int] | None) -> None:
    connect(sock, *addresses)
    sock.send(b"x")


def test_listener_does_not_dial_out(place: Place, way: Way) -> None:
    """After its shutdown it is a socket as any other."""
    check_way_out(place, way.forbidden, (way.family, *TCP), listen_then_dial, (way.forbidden, PORT))


@pytest.mark.parametrize("function", [fast_open, fast_open_by_connect])
def test_tcp_fast_open_leads_nowhere_else(place: Place, way: Way, function: Any) -> None:
    check_way_out(place, way.forbidden, (way.family, *TCP), function, (way.forbidden, PORT))


def test_mptcp_connects_nowhere_else(place: Place, way: Way) -> None:
    check_way_out(place, way.forbidden, (way.family, *MPTCP), connect, (way.forbidden, PORT))
    check_way_out(place, way.allowed, (way.family, *MPTCP), connect, (way.allowed, FORBIDDEN_PORT))


@pytest.mark.parametrize("kind", [UDP, UDPLITE], ids=["udp", "udplite"])
def test_datagrams_go_nowhere_else(place: Place, way: Way, kind: tuple[int, int]) -> None:
    """By sendto and sendmsg, connected or not; by connect and send."""
    spec, allowed, forbidden = (way.family, *kind), (way.allowed, PORT), (way.forbidden, PORT)
    check_way_out(place, way.forbidden, spec, send_to, None, forbidden)
    check_way_out(place, way.forbidden, spec, send_to, allowed, forbidden)
    check_way_out(place, way.forbidden, spec, send_message, allowed, forbidden)
    check_way_out(place, way.forbidden, spec, connect_and_send, forbidden)
    check_way_out(place, way.allowed, spec, send_to, None, (way.allowed, FORBIDDEN_PORT))
    check_way_out(place, way.allowed, spec, connect_and_send, (way.allowed, FORBIDDEN_PORT))
