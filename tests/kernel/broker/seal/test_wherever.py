"""A limit holds whatever system call is used, and in whoever's hands the socket is."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from typing import Any

import pytest

from support import io_uring, namespaces
from support.brokers.sealed import LIMITED, PORT, Place, attempt, check_allowed, check_way_out, open_as
from support.far_side import ALLOWED_4, FORBIDDEN_4, NEAR_4, WAYS, Way
from support.users import GROUP, OTHER_USER, as_user

INET, INET6 = int(socket.AF_INET), int(socket.AF_INET6)
TCP = (int(socket.SOCK_STREAM), 0)
UDP = (int(socket.SOCK_DGRAM), 0)
IPPROTO_IP = 0


def send_by_io_uring(sock: socket.socket, operation: int, address: tuple[str, int]) -> None:
    """Connect, or send a message."""
    name = struct.pack("=H", INET) + struct.pack("!H", address[1]) + socket.inet_aton(address[0]) + bytes(8)
    held = ctypes.create_string_buffer(name), ctypes.create_string_buffer(b"x")
    vector = ctypes.create_string_buffer(struct.pack("=QQ", ctypes.addressof(held[1]), 1))
    message = ctypes.create_string_buffer(
        struct.pack("=QIIQQQQQ", ctypes.addressof(held[0]), 16, 0, ctypes.addressof(vector), 1, 0, 0, 0)
    )
    ring = io_uring.Ring()
    if operation == io_uring.CONNECT:
        result = ring.run(operation, sock.fileno(), ctypes.addressof(held[0]), 0, 16)
    else:
        result = ring.run(operation, sock.fileno(), ctypes.addressof(message), 1)
    if result < 0:
        raise OSError(-result, os.strerror(-result))


def test_io_uring_leads_nowhere_else(place: Place) -> None:
    check_way_out(place, FORBIDDEN_4, (INET, *TCP), send_by_io_uring, io_uring.CONNECT, (FORBIDDEN_4, PORT))
    check_way_out(place, FORBIDDEN_4, (INET, *UDP), send_by_io_uring, io_uring.SEND_MESSAGE, (FORBIDDEN_4, PORT))
    check_allowed(place, ALLOWED_4, (INET, *UDP), send_by_io_uring, io_uring.SEND_MESSAGE, (ALLOWED_4, PORT))


def send_widely(sock: socket.socket, *address: Any) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sock.sendto(b"x", address)


def test_multicast_and_broadcast_are_addresses_as_others(place: Place) -> None:
    index = int(namespaces.ip("netns", "exec", place.wire.near, "cat", *_index_file(place)))
    for group in ("239.1.2.3", "10.9.0.255", "255.255.255.255"):
        check_way_out(place, group, (INET, *UDP), send_bound, NEAR_4, group, PORT)
    check_way_out(place, "ff05::1234", (INET6, *UDP), send_widely, "ff05::1234", PORT, 0, index)


def _index_file(place: Place) -> list[str]:
    return [f"/sys/class/net/{namespaces.PREFIX[4:-1]}n/ifindex"]


def send_bound(sock: socket.socket, source: str, group: str, port: int) -> None:
    sock.setsockopt(IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(source))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, f"{namespaces.PREFIX[4:-1]}n".encode())
    send_widely(sock, group, port)


def send_corked(sock: socket.socket, *ends: str) -> None:
    """Begin a datagram to the one, and end it to the other."""
    sock.sendto(b"x", socket.MSG_MORE, (ends[0], PORT))
    sock.sendto(b"x", (ends[1], PORT))


def send_from_file(sock: socket.socket, address: str) -> None:
    sock.connect((address, PORT))
    fd = os.memfd_create("x")
    os.write(fd, b"x")
    os.sendfile(sock.fileno(), fd, 0, 1)


def send_by_splice(sock: socket.socket, address: str) -> None:
    sock.connect((address, PORT))
    reader, writer = os.pipe()
    os.write(writer, b"x")
    os.splice(reader, sock.fileno(), 1)


@pytest.mark.parametrize("way", list(WAYS.values()), ids=list(WAYS))
def test_cork_splice_and_sendfile_lead_nowhere_else(place: Place, way: Way) -> None:
    check_way_out(place, way.forbidden, (way.family, *UDP), send_from_file, way.forbidden)
    check_way_out(place, way.forbidden, (way.family, *UDP), send_by_splice, way.forbidden)
    check_way_out(place, way.forbidden, (way.family, *UDP), send_corked, way.forbidden, way.allowed)
    attempt(place, LIMITED, (way.family, *UDP), send_corked, way.allowed, way.forbidden)
    assert way.forbidden.removeprefix("::ffff:") not in place.wire.destinations()


def test_limit_is_the_sockets_wherever_it_is_passed(place: Place) -> None:
    """To root, to another user, another control group, another network and user namespace."""
    with open_as(place, LIMITED, (INET, *UDP)) as sock:
        place.wire.destinations()
        for call in (_try_here, _try_as_user, _try_in_group, _try_in_namespaces):
            assert errno.errorcode[call(sock)] == "EPERM", call
        assert FORBIDDEN_4 not in place.wire.destinations()
        sock.sendto(b"x", (ALLOWED_4, PORT))
        assert ALLOWED_4 in place.wire.destinations()


def _try_here(sock: socket.socket) -> int:
    try:
        sock.sendto(b"x", (FORBIDDEN_4, PORT))
    except OSError as error:
        return error.errno or -1
    return 0


def _try_as_user(sock: socket.socket) -> int:
    return int(as_user(OTHER_USER, GROUP, _try_here, sock))


def _try_in_group(sock: socket.socket) -> int:
    return int(as_user(0, 0, _enter_group_and_try, sock))


def _enter_group_and_try(sock: socket.socket) -> int:
    from nsbrokerd.seal.own_group import own_cgroup

    here = own_cgroup()
    group = here / f"{namespaces.PREFIX}other"
    group.mkdir()
    try:
        (group / "cgroup.procs").write_text("0")
        return _try_here(sock)
    finally:
        (here / "cgroup.procs").write_text("0")
        group.rmdir()


def _try_in_namespaces(sock: socket.socket) -> int:
    return int(as_user(OTHER_USER, GROUP, _leave_and_try, sock))


def _leave_and_try(sock: socket.socket) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(0x50000000) == 0, os.strerror(ctypes.get_errno())
    return _try_here(sock)
