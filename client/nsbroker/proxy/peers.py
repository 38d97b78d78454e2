"""Which user is at the other end of a connection that the proxy has accepted.

For a Unix socket, the kernel has noted it (SO_PEERCRED). For a loopback address, the other end is a socket of the same
namespace, and sock_diag(7) finds its owner by the four numbers of the connection. No privilege is needed. If there is
no such socket, or it has no owner any more, the user is unknown. Source: linux/inet_diag.h, net/ipv4/inet_diag.c.
"""

from __future__ import annotations

import os
import socket
import struct
from errno import EPROTO

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_NLMSG_ERROR = 2
_HEADER = struct.Struct("=IHHII")
"""nlmsghdr: length, type, flags, sequence number, port."""
_REQUEST = struct.Struct("=BBBxI")
"""inet_diag_req_v2 up to its inet_diag_sockid: family, protocol, extensions, states."""
_SOCKID = struct.Struct("!HH16s16s")
"""inet_diag_sockid: ports and addresses, local and remote. Interface and cookie follow, in the order of the machine."""
_INTERFACE_AND_COOKIE = struct.Struct("=III")
_LOOPBACK, _ANY_COOKIE = 1, 0xFFFFFFFF
"""LOOPBACK_IFINDEX, which also finds sockets that are bound to this interface; INET_DIAG_NOCOOKIE."""
_MESSAGE = struct.Struct("=BBxx40s8xIIIII")
"""inet_diag_msg: family, state, sockid (and cookie), expires, rqueue, wqueue, uid, inode."""
_ALL_STATES = 0xFFFFFFFF
_OPEN_STATES = frozenset({1, 4, 5, 8})
"""ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT."""
_SEQUENCE_NUMBERS = 2**32
_RECEIVE_BYTES = 8192
_MAPPED = bytes(10) + b"\xff\xff"
"""How an IPv6 socket with an IPv4 connection shows its addresses."""
_UCRED = struct.Struct("iII")
_OVERFLOW_UID = "/proc/sys/kernel/overflowuid"
_UID_MAP = "/proc/self/uid_map"
_ALL_UIDS = ["0", "0", "4294967295"]


class SockDiag:
    """Finds the owners of TCP sockets in the namespace of this process.

    Raises:
        OSError: this process can't have such a socket.
    """

    def __init__(self) -> None:
        flags = socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | flags, _NETLINK_SOCK_DIAG)
        self._sequence = 0

    def owner_of_peer(self, connection: socket.socket) -> int | None:
        """Return the uid of the socket at the other end of a TCP connection, or None if it can't be found.

        The kernel answers within the call of send(2), so this does not wait.

        Raises:
            OSError: the kernel refuses the question, or does not answer it. ENOTCONN: the peer is gone.
        """
        local, remote = connection.getsockname(), connection.getpeername()
        self._sequence = (self._sequence + 1) % _SEQUENCE_NUMBERS
        request = make_request(connection.family, remote, local, self._sequence)
        self._sock.sendto(request, (0, 0))
        while True:
            answer = self._sock.recv(_RECEIVE_BYTES)
            if _sequence_of(answer) == self._sequence:  # else it is the answer to a question that failed
                break
        # A peer that resets the connection frees its port, and the answer may be about the next socket there. As long
        # as this end is connected, the kernel has no other connection with the same four numbers.
        connection.getpeername()
        return owner_in(answer, connection.family, remote, local)

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()


def make_request(family: int, local: tuple[object, ...], remote: tuple[object, ...], sequence: int) -> bytes:
    """Return the question for the one TCP socket with these addresses."""
    sockid = _sockid(family, local, remote) + _INTERFACE_AND_COOKIE.pack(_LOOPBACK, _ANY_COOKIE, _ANY_COOKIE)
    body = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, _ALL_STATES) + sockid
    return _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, sequence, 0) + body


def owner_in(answer: bytes, family: int, local: tuple[object, ...], remote: tuple[object, ...]) -> int | None:
    """Return the uid in an answer about the TCP socket with these addresses, or None if there is no owner.

    A socket without an inode was closed by its process: then, and in TIME_WAIT, the kernel reports uid 0. It may also
    answer with the listener of the address.

    Raises:
        OSError: the kernel refuses the question, or its answer is too short.
    """
    _, kind, *_ = _HEADER.unpack_from(answer)
    body = answer[_HEADER.size :]
    if kind == _NLMSG_ERROR:
        number = -struct.unpack_from("=i", body)[0]
        if number == 2:  # ENOENT
            return None
        raise OSError(number, os.strerror(number))
    if kind != _SOCK_DIAG_BY_FAMILY or len(body) < _MESSAGE.size:
        raise OSError(EPROTO, os.strerror(EPROTO))
    _, state, sockid, _, _, _, uid, inode = _MESSAGE.unpack_from(body)
    if state not in _OPEN_STATES or not inode:
        return None
    if sockid[: _SOCKID.size] not in (_sockid(family, local, remote), _mapped_sockid(family, local, remote)):
        return None
    return int(uid)


def _sequence_of(answer: bytes) -> int:
    if len(answer) < _HEADER.size:
        raise OSError(EPROTO, os.strerror(EPROTO))
    return int(_HEADER.unpack_from(answer)[3])


def _sockid(family: int, local: tuple[object, ...], remote: tuple[object, ...]) -> bytes:
    addresses = (socket.inet_pton(family, str(address[0])) for address in (local, remote))
    return _SOCKID.pack(local[1], remote[1], *addresses)


def _mapped_sockid(family: int, local: tuple[object, ...], remote: tuple[object, ...]) -> bytes:
    if family != socket.AF_INET:
        return b""
    addresses = (_MAPPED + socket.inet_pton(family, str(address[0])) for address in (local, remote))
    return _SOCKID.pack(local[1], remote[1], *addresses)


def user_of_unix_peer(connection: socket.socket) -> int:
    """Return the uid that the process had which called connect(2)."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return int(_UCRED.unpack(credentials)[1])


def is_unambiguous(uid: int) -> bool:
    """Return whether a uid that the kernel reports to this process stands for one user.

    In a user namespace, the overflow uid stands for all users without a number of their own.
    """
    with open(_OVERFLOW_UID, encoding="ascii") as file:
        overflow = int(file.read())
    with open(_UID_MAP, encoding="ascii") as file:
        return uid != overflow or file.read().split() == _ALL_UIDS
