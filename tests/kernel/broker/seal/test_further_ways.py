"""Further ways by which a limited socket goes nowhere else: other calls, other forms of an address, offloads."""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
from collections.abc import Callable

import pytest

from support import int80, io_uring
from support.brokers.sealed import (
    FORBIDDEN_PORT,
    FREE,
    LIMITED,
    PORT,
    Place,
    attempt,
    check_allowed,
    check_way_out,
)
from support.far_side import ALLOWED_4, ALLOWED_6, FORBIDDEN_4, FORBIDDEN_6, NEAR_4
from support.udplite import needs_udplite
from support.udplite import why_not as why_no_udplite

INET, INET6 = int(socket.AF_INET), int(socket.AF_INET6)
TCP = (int(socket.SOCK_STREAM), 0)
UDP = (int(socket.SOCK_DGRAM), 0)
UDPLITE = (int(socket.SOCK_DGRAM), 136)
DATAGRAMS = [UDP] if why_no_udplite() else [UDP, UDPLITE]
SOL_UDP, UDP_SEGMENT = 17, 103
SO_ZEROCOPY, MSG_ZEROCOPY = 60, 0x4000000
IP_PKTINFO, IPV6_PKTINFO = 8, 50


def name_of(host: str, port: int, length: int = 0) -> bytes:
    """Return a struct sockaddr_in or sockaddr_in6, cut to this length if one is given."""
    if ":" in host:
        whole = struct.pack("=H2sI16sI", INET6, struct.pack("!H", port), 0, socket.inet_pton(INET6, host), 0)
    else:
        whole = struct.pack("=H2s4s8x", INET, struct.pack("!H", port), socket.inet_aton(host))
    return whole[: length or len(whole)]


_libc = ctypes.CDLL(None, use_errno=True)


def check(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")


def connect_short(sock: socket.socket, host: str, length: int) -> None:
    check(_libc.connect(sock.fileno(), name_of(host, PORT, length), length))
    sock.send(b"x")


def send_short(sock: socket.socket, host: str, length: int) -> None:
    check(_libc.sendto(sock.fileno(), b"x", 1, 0, name_of(host, PORT, length), length))


@pytest.mark.parametrize("function", [connect_short, send_short])
@pytest.mark.parametrize("kind", [TCP, UDP, pytest.param(UDPLITE, marks=needs_udplite)], ids=["tcp", "udp", "udplite"])
def test_short_address_leads_nowhere_else(
    place: Place, kind: tuple[int, int], function: Callable[[socket.socket, str, int], None]
) -> None:
    """An address of IPv6 needs no scope, as in RFC 2133. The kernel refuses any shorter one."""
    for family, host, lengths in ((INET, FORBIDDEN_4, range(16)), (INET6, FORBIDDEN_6, range(24))):
        place.wire.destinations()
        for length in lengths:
            assert attempt(place, LIMITED, (family, *kind), function, host, length) != 0, length
        assert host not in place.wire.destinations()
    if kind != TCP or function is connect_short:
        check_way_out(place, FORBIDDEN_6, (INET6, *kind), function, FORBIDDEN_6, 24)


def send_segments(sock: socket.socket, host: str, *, by_option: bool) -> None:
    """Send one piece that the kernel or the device cuts into many datagrams."""
    message = [] if by_option else [(SOL_UDP, UDP_SEGMENT, struct.pack("=H", 100))]
    if by_option:
        sock.setsockopt(SOL_UDP, UDP_SEGMENT, 100)
    sock.sendmsg([b"x" * 1000], message, 0, (host, PORT))


def send_segments_by_option(sock: socket.socket, host: str) -> None:
    send_segments(sock, host, by_option=True)


def send_segments_by_message(sock: socket.socket, host: str) -> None:
    send_segments(sock, host, by_option=False)


def send_without_copy(sock: socket.socket, host: str) -> None:
    sock.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
    sock.sendto(b"x" * 5000, MSG_ZEROCOPY, (host, PORT))


@pytest.mark.parametrize("function", [send_segments_by_option, send_segments_by_message, send_without_copy])
@pytest.mark.parametrize(
    ("family", "allowed", "forbidden"), [(INET, ALLOWED_4, FORBIDDEN_4), (INET6, ALLOWED_6, FORBIDDEN_6)]
)
def test_offloads_lead_nowhere_else(
    place: Place, function: Callable[[socket.socket, str], None], family: int, allowed: str, forbidden: str
) -> None:
    check_way_out(place, forbidden, (family, *UDP), function, forbidden)
    check_allowed(place, allowed, (family, *UDP), function, allowed)


def send_elsewhere(sock: socket.socket, connected: str, message: tuple[int, int, bytes], host: str) -> None:
    """With a control message that could name another way, on a socket that is connected to an allowed address."""
    sock.connect((connected, PORT))
    sock.sendmsg([b"x"], [message], 0, (host, PORT))


@pytest.mark.parametrize(
    ("family", "allowed", "forbidden", "message"),
    [
        (INET, ALLOWED_4, FORBIDDEN_4, (0, IP_PKTINFO, struct.pack("=i8x", 0))),
        (INET6, ALLOWED_6, FORBIDDEN_6, (41, IPV6_PKTINFO, bytes(20))),
        (INET6, f"::ffff:{ALLOWED_4}", f"::ffff:{FORBIDDEN_4}", (41, IPV6_PKTINFO, bytes(10) + b"\xff\xff" + bytes(8))),
        (INET, ALLOWED_4, FORBIDDEN_4, (0, socket.IP_TOS, struct.pack("=i", 16))),
        (INET6, ALLOWED_6, FORBIDDEN_6, (41, socket.IPV6_TCLASS, struct.pack("=i", 16))),
    ],
)
def test_control_message_leads_nowhere_else(
    place: Place, family: int, allowed: str, forbidden: str, message: tuple[int, int, bytes]
) -> None:
    check_way_out(place, forbidden, (family, *UDP), send_elsewhere, allowed, message, forbidden)


def send_from_named_source(sock: socket.socket, source: bytes, host: str) -> None:
    sock.sendmsg([b"x"], [(0, IP_PKTINFO, source)], 0, (host, PORT))


@pytest.mark.parametrize("member", [4, 8], ids=["ipi_spec_dst", "ipi_addr"])
def test_source_that_a_message_names_does_not_widen_the_limit(place: Place, member: int) -> None:
    """Both addresses of IP_PKTINFO, of which the kernel reads the first."""
    source = bytearray(12)
    source[member : member + 4] = socket.inet_aton(NEAR_4)
    check_way_out(place, FORBIDDEN_4, (INET, *UDP), send_from_named_source, bytes(source), FORBIDDEN_4)


def by_ring(sock: socket.socket, operation: int, host: str) -> None:
    """By an operation of io_uring that names an address."""
    name = ctypes.create_string_buffer(name_of(host, PORT))
    data = ctypes.create_string_buffer(b"x")
    ring = io_uring.Ring()
    length = len(name_of(host, PORT))
    if operation in (io_uring.CONNECT, io_uring.BIND):
        result = ring.run(operation, sock.fileno(), ctypes.addressof(name), 0, length)
    elif operation in (io_uring.SEND, io_uring.SEND_ZERO_COPY):
        # The address is where other operations have an offset, and its length in `addr_len`.
        result = ring.run(operation, sock.fileno(), ctypes.addressof(data), 1, ctypes.addressof(name), length)
    else:
        vector = ctypes.create_string_buffer(struct.pack("=QQ", ctypes.addressof(data), 1))
        message = ctypes.create_string_buffer(
            struct.pack("=QIIQQQQQ", ctypes.addressof(name), length, 0, ctypes.addressof(vector), 1, 0, 0, 0)
        )
        result = ring.run(operation, sock.fileno(), ctypes.addressof(message), 1)
    if result < 0:
        raise OSError(-result, errno.errorcode.get(-result, "?"))


@pytest.mark.parametrize("host", [FORBIDDEN_4, FORBIDDEN_6])
@pytest.mark.parametrize(
    "operation", [io_uring.SEND, io_uring.SEND_MESSAGE, io_uring.SEND_ZERO_COPY, io_uring.SEND_MESSAGE_ZERO_COPY]
)
def test_io_uring_sends_nowhere_else(place: Place, operation: int, host: str) -> None:
    family = INET6 if ":" in host else INET
    if attempt(place, FREE, (family, *UDP), by_ring, operation, host) == errno.EINVAL:
        pytest.skip("this kernel's io_uring has no such operation, or takes no address with it")
    check_way_out(place, host, (family, *UDP), by_ring, operation, host)


def test_io_uring_binds_nothing_else(place: Place) -> None:
    if attempt(place, FREE, (INET, *UDP), bind_by_ring, "0.0.0.0", FORBIDDEN_PORT) == errno.EINVAL:
        pytest.skip("this kernel's io_uring can't bind")
    assert attempt(place, LIMITED, (INET, *UDP), bind_by_ring, "0.0.0.0", PORT) == 0
    assert attempt(place, LIMITED, (INET, *UDP), bind_by_ring, "0.0.0.0", FORBIDDEN_PORT) == errno.EPERM


def bind_by_ring(sock: socket.socket, host: str, port: int) -> None:
    name = ctypes.create_string_buffer(name_of(host, port))
    result = io_uring.Ring().run(io_uring.BIND, sock.fileno(), ctypes.addressof(name), 0, 16)
    if result < 0:
        raise OSError(-result, errno.errorcode.get(-result, "?"))


def connect_as_32_bits(sock: socket.socket, host: str) -> None:
    int80.call(int80.CONNECT, sock.fileno(), name_of(host, PORT), len(name_of(host, PORT)))
    sock.send(b"x")


def send_message_as_32_bits(sock: socket.socket, host: str) -> None:
    header, memory = int80.message(name_of(host, PORT), b"x")
    int80.call(int80.SENDMSG, sock.fileno(), header, 0)
    del memory


def bind_as_32_bits(sock: socket.socket, host: str, port: int) -> None:
    int80.call(int80.BIND, sock.fileno(), name_of(host, port), len(name_of(host, port)))


needs_32_bits = pytest.mark.skipif(int80.why_not() is not None, reason=str(int80.why_not()))


@needs_32_bits
@pytest.mark.parametrize(("host", "allowed"), [(FORBIDDEN_4, ALLOWED_4), (FORBIDDEN_6, ALLOWED_6)])
@pytest.mark.parametrize("function", [connect_as_32_bits, send_message_as_32_bits])
def test_calls_of_32_bit_programs_lead_nowhere_else(
    place: Place, function: Callable[[socket.socket, str], None], host: str, allowed: str
) -> None:
    family = INET6 if ":" in host else INET
    for kind in DATAGRAMS:
        check_way_out(place, host, (family, *kind), function, host)
        check_allowed(place, allowed, (family, *kind), function, allowed)
    if function is connect_as_32_bits:
        check_way_out(place, host, (family, *TCP), function, host)


@needs_32_bits
def test_32_bit_program_binds_nothing_else(place: Place) -> None:
    for kind in (TCP, *DATAGRAMS):
        for port, number in ((PORT, 0), (FORBIDDEN_PORT, errno.EPERM)):
            assert attempt(place, LIMITED, (INET, *kind), bind_as_32_bits, NEAR_4, port) == number
        assert attempt(place, FREE, (INET, *kind), bind_as_32_bits, NEAR_4, FORBIDDEN_PORT) == 0
