"""Allowed uses work as without a limit, and unlisted addresses can't be bound."""

from __future__ import annotations

import errno
import shutil
import socket
import struct

import pytest

from support import namespaces
from support.brokers.sealed import (
    FORBIDDEN_PORT,
    FREE,
    LAST_PORT,
    LIMITED,
    PORT,
    Place,
    attempt,
    check_allowed,
    disconnect,
    open_as,
)
from support.far_side import ALLOWED_4, FORBIDDEN_4, WAYS, Way, socket_inside
from support.waiting import wait_until

INET, INET6 = int(socket.AF_INET), int(socket.AF_INET6)
TCP = (int(socket.SOCK_STREAM), 0)
UDP = (int(socket.SOCK_DGRAM), 0)
MPTCP = (int(socket.SOCK_STREAM), 262)
JOIN_FAILED = ("MPJoinSynTxBindErr", "MPJoinSynTxConnectErr")
IP_BIND_ADDRESS_NO_PORT, IP_PKTINFO, IPV6_PKTINFO = 24, 8, 50


def bind(sock: socket.socket, address: tuple[str, int]) -> None:
    sock.bind(address)
    assert sock.getsockname()[1] == address[1]


def bind_without_port(sock: socket.socket, address: str) -> None:
    sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    sock.bind((address, 0))


@pytest.mark.parametrize("kind", [TCP, UDP, MPTCP], ids=["tcp", "udp", "mptcp"])
def test_client_binds_what_is_listed_and_nothing_else(place: Place, way: Way, kind: tuple[int, int]) -> None:
    """A low port as well, without any right of its own."""
    expected = {80: 0, PORT: 0, LAST_PORT: 0, 81: errno.EPERM, PORT - 1: errno.EPERM, FORBIDDEN_PORT: errno.EPERM}
    expected[0] = errno.EPERM  # the kernel would choose a port that is not listed
    for port, number in expected.items():
        assert attempt(place, LIMITED, (way.family, *kind), bind, (way.near, port)) == number, port
    if kind != MPTCP:  # of which Linux 6.1 does not know the option
        assert attempt(place, LIMITED, (way.family, *kind), bind_without_port, way.near) == errno.EPERM
    assert attempt(place, FREE, (way.family, *kind), bind, (way.near, 80)) == errno.EACCES


@pytest.mark.parametrize("kind", [TCP, MPTCP], ids=["tcp", "mptcp"])
@pytest.mark.parametrize("port", [PORT, LAST_PORT])
def test_allowed_address_is_connected(place: Place, way: Way, port: int, kind: tuple[int, int]) -> None:
    with socket_inside(place.wire.far, way.family, *kind) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((way.allowed, port))
        server.listen()
        with open_as(place, LIMITED, (way.family, *kind)) as sock:
            sock.connect((way.allowed, port))
            exchange(sock, server.accept()[0])


def exchange(one: socket.socket, other: socket.socket) -> None:
    """Data goes both ways."""
    with other:
        for sender, receiver in ((one, other), (other, one)):
            sender.settimeout(20)
            receiver.settimeout(20)
            sender.sendall(b"x" * 100_000)
            received = 0
            while received < 100_000:
                received += len(receiver.recv(65536))


@pytest.mark.parametrize(("listener", "client"), [(TCP, TCP), (MPTCP, MPTCP), (MPTCP, TCP)])
def test_accepted_connections_work_and_lead_nowhere_else(
    place: Place, way: Way, listener: tuple[int, int], client: tuple[int, int]
) -> None:
    """The client can have an address that the listener could not connect to, and plain TCP at an MPTCP listener."""
    with open_as(place, LIMITED, (way.family, *listener)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((way.near, PORT))
        server.listen()
        with socket_inside(place.wire.far, way.family, *client) as peer:
            peer.settimeout(20)
            peer.bind((way.forbidden, 0))
            peer.connect((way.near, PORT))
            accepted = server.accept()[0]
            exchange(peer, accepted.dup())
        with accepted:
            disconnect(accepted)
            # Linux 6.1 does not connect an accepted MPTCP socket anew, whoever asks (EINVAL).
            refused = (errno.EPERM, errno.EINVAL) if client == MPTCP else (errno.EPERM,)
            assert accepted.connect_ex((way.forbidden, FORBIDDEN_PORT)) in refused


def test_further_subflows_lead_nowhere_else(place: Place) -> None:
    """The server announces an address of its that the client is not allowed to go to."""
    if not join_failures(place):
        pytest.skip("this kernel does not tell that a further subflow failed")
    wire = place.wire
    for name in (wire.near, wire.far):
        namespaces.ip("-n", name, "mptcp", "limits", "set", "subflow", "4", "add_addr_accepted", "4")
    namespaces.ip("-n", wire.far, "mptcp", "endpoint", "add", FORBIDDEN_4, "signal")
    try:
        for uid, arrives in ((LIMITED, False), (FREE, True)):
            with socket_inside(wire.far, INET, *MPTCP) as server, open_as(place, uid, (INET, *MPTCP)) as sock:
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                server.bind(("0.0.0.0", PORT))
                server.listen()
                wire.destinations()
                failures = join_failures(place)
                sock.connect((ALLOWED_4, PORT))
                with server.accept()[0] as accepted:
                    exchange(sock, accepted.dup())
                    arrived: list[str] = []

                    def is_decided(arrived: list[str] = arrived, failures: list[str] = failures) -> bool:
                        arrived += wire.destinations()
                        return FORBIDDEN_4 in arrived or join_failures(place) != failures

                    wait_until(is_decided)
                    assert (FORBIDDEN_4 in arrived) == arrives
    finally:
        namespaces.ip("-n", wire.far, "mptcp", "endpoint", "flush")


def join_failures(place: Place) -> list[str]:
    """How often the kernel could not begin a further subflow, if it counts that (Linux 6.13)."""
    counters = namespaces.ip("netns", "exec", place.wire.near, "cat", "/proc/net/netstat")
    [names, numbers] = [line.split() for line in counters.splitlines() if line.startswith("MPTcpExt:")]
    return [number for name, number in zip(names, numbers, strict=True) if name in JOIN_FAILED]


def send_with_tos(sock: socket.socket, address: tuple[str, int]) -> None:
    sock.connect(address)
    sock.sendmsg([b"x"], [(socket.IPPROTO_IP, socket.IP_TOS, struct.pack("=i", 16))])


def test_connected_datagram_socket_sends_with_messages(place: Place) -> None:
    """The kernel asks about it without saying to where."""
    check_allowed(place, ALLOWED_4, (INET, *UDP), send_with_tos, (ALLOWED_4, PORT))


def send_from(sock: socket.socket, bound: tuple[str, int] | None, source: str, address: tuple[str, int]) -> None:
    """Send with a source of one's own choice."""
    if bound:
        sock.bind(bound)
    if ":" in source:
        message = (socket.IPPROTO_IPV6, IPV6_PKTINFO, socket.inet_pton(INET6, source) + bytes(4))
    else:
        message = (socket.IPPROTO_IP, IP_PKTINFO, struct.pack("=I4s4x", 0, socket.inet_aton(source)))
    sock.sendmsg([b"x"], [message], 0, address)


@pytest.mark.parametrize("way", [WAYS["IPv4"], WAYS["IPv6"]], ids=["IPv4", "IPv6"])
def test_source_address_is_one_to_bind(place: Place, way: Way) -> None:
    """IP_PKTINFO or IPV6_PKTINFO chooses the source, with a listed port or without a port."""
    spec, target = (way.family, *UDP), (way.allowed, PORT)
    zeros = "::" if way.family == INET6 else "0.0.0.0"
    check_allowed(place, way.allowed, spec, send_from, (zeros, PORT), way.near, target)
    check_allowed(place, way.allowed, spec, send_from, None, zeros, target)
    assert attempt(place, LIMITED, spec, send_from, None, way.near, target) == errno.EPERM
    assert attempt(place, FREE, spec, send_from, None, way.near, target) == 0


@pytest.mark.skipif(shutil.which("nft") is None, reason="a virtual address needs the command nft (nftables)")
def test_virtual_address_is_the_one_that_counts(place: Place) -> None:
    """The address is listed. A firewall can redirect the packets to an unlisted one."""
    nat = f"type nat hook output priority -100; ip daddr 10.9.0.200 dnat to {FORBIDDEN_4};"
    namespaces.ip("netns", "exec", place.wire.near, "nft", f"table ip t {{ chain c {{ {nat} }} ; }}")
    try:
        check_allowed(place, FORBIDDEN_4, (INET, *UDP), socket.socket.sendto, b"x", ("10.9.0.200", PORT))
        with socket_inside(place.wire.far, INET, *TCP) as server, open_as(place, LIMITED, (INET, *TCP)) as sock:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((FORBIDDEN_4, PORT))
            server.listen()
            sock.connect(("10.9.0.200", PORT))
            exchange(sock, server.accept()[0])
    finally:
        namespaces.ip("netns", "exec", place.wire.near, "nft", "delete table ip t")


@pytest.mark.parametrize("kind", [TCP, UDP], ids=["tcp", "udp"])
@pytest.mark.parametrize(("family", "zeros"), [(INET, "0.0.0.0"), (INET6, "::"), (INET6, "::ffff:0.0.0.0")])
def test_zeros_are_no_way_to_the_own_host(place: Place, family: int, zeros: str, kind: tuple[int, int]) -> None:
    """As a destination they are an address that the kernel chooses."""
    assert attempt(place, LIMITED, (family, *kind), socket.socket.connect, (zeros, PORT)) == errno.EPERM
    assert attempt(place, FREE, (family, *kind), socket.socket.connect, (zeros, PORT)) in (0, errno.ECONNREFUSED)
