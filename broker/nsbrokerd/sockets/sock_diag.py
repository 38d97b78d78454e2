"""Ends TCP connections and listeners of a namespace by their cookies, over a sock_diag socket of that namespace.

pyroute2 does not fit: its diag socket enters namespaces by itself, in a forked process, and can't use an existing
socket. The few messages that are needed are below. Source: sock_diag(7), linux/inet_diag.h.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Collection, Iterator

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY, _SOCK_DESTROY = 20, 21
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_DUMP = 1, 4, 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_ALL_STATES = 0xFFFFFFFF
_RECEIVE_BYTES = 65536

_HEADER = struct.Struct("=IHHII")
"""nlmsghdr: length, type, flags, sequence number, port."""

_REQUEST = struct.Struct("=BBBxI48s")
"""inet_diag_req_v2: family, protocol, extensions, states, and an inet_diag_sockid."""

_NUMBER_BYTES = 4

_SOCKID_AT = 4
"""In inet_diag_msg, after family, state, timer and retransmissions."""

_SOCKID_BYTES = 48
_COOKIE_AT = 40
"""In inet_diag_sockid: its last 8 bytes, as two halves, the low one first."""


def open_diag() -> socket.socket:
    """Make a socket that lists and ends sockets of the namespace that the thread is in. The caller owns it."""
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG)


def end_each(diag: socket.socket, cookies: Collection[int]) -> Iterator[int]:
    """End the TCP sockets with these cookies, and yield each cookie once its socket has ended.

    Peers get a reset, holders ECONNABORTED. The kernel waits for a program that uses the socket: perhaps forever, and
    no signal ends this wait.

    Raises:
        OSError: the kernel lacks CONFIG_INET_DIAG_DESTROY (EOPNOTSUPP), or the caller the right to do it (EPERM).
    """
    for family in (socket.AF_INET, socket.AF_INET6):
        found = [sockid for sockid in _list_tcp(diag, family) if _cookie(sockid) in cookies]
        for sockid in found:
            if _end(diag, family, sockid):
                yield _cookie(sockid)


def _cookie(sockid: bytes) -> int:
    low, high = struct.unpack_from("=II", sockid, _COOKIE_AT)
    return int(low | high << 32)


def _list_tcp(diag: socket.socket, family: int) -> list[bytes]:
    _send(diag, _SOCK_DIAG_BY_FAMILY, _NLM_F_DUMP, family, bytes(_SOCKID_BYTES))
    return [body[_SOCKID_AT : _SOCKID_AT + _SOCKID_BYTES] for body in _answers(diag)]


def _end(diag: socket.socket, family: int, sockid: bytes) -> bool:
    _send(diag, _SOCK_DESTROY, _NLM_F_ACK, family, sockid)
    try:
        list(_answers(diag))
    except OSError as error:
        if error.errno != errno.ENOENT:  # its holder closed it meanwhile
            raise
        return False
    return True


def _send(diag: socket.socket, kind: int, flags: int, family: int, sockid: bytes) -> None:
    _send_request(diag, kind, flags, _REQUEST.pack(family, socket.IPPROTO_TCP, 0, _ALL_STATES, sockid))


def _send_request(diag: socket.socket, kind: int, flags: int, request: bytes) -> None:
    header = _HEADER.pack(_HEADER.size + len(request), kind, _NLM_F_REQUEST | flags, 0, 0)
    diag.sendto(header + request, (0, 0))


def exchange(diag: socket.socket, kind: int, flags: int, request: bytes) -> list[bytes]:
    """Send a request, and return the bodies of the messages of its answer.

    Raises:
        OSError: the kernel answered with an error.
    """
    _send_request(diag, kind, flags, request)
    return list(_answers(diag, needs_list=True))


def _answers(diag: socket.socket, *, needs_list: bool = False) -> Iterator[bytes]:
    """Yield the bodies of the messages of one answer. With `needs_list`, it is an error if the kernel has no such list.

    Raises:
        OSError: the kernel answered with an error.
    """
    while True:
        packet = diag.recv(_RECEIVE_BYTES)
        at = 0
        while at < len(packet):
            length, kind, *_ = _HEADER.unpack_from(packet, at)
            body = packet[at + _HEADER.size : at + length]
            at += (length + 3) & ~3
            if kind == _NLMSG_DONE:
                number = -struct.unpack_from("=i", body)[0] if needs_list and len(body) >= _NUMBER_BYTES else 0
                if number:
                    raise OSError(number, f"sock_diag: {errno.errorcode.get(number, number)}")
                return
            if kind == _NLMSG_ERROR:
                number = -struct.unpack_from("=i", body)[0]
                if number:
                    raise OSError(number, f"sock_diag: {errno.errorcode.get(number, number)}")
                return
            yield body
