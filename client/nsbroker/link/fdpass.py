"""Packets with descriptors over a Unix socket. This is the one file that touches SCM_RIGHTS.

`socket.recv_fds` ignores its flags, so its descriptors would be inheritable. Source: unix(7), cmsg(3).
"""

from __future__ import annotations

import os
import socket
from array import array
from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_SCM_RIGHTS = int(socket.SCM_RIGHTS)
_SOL_SOCKET = int(socket.SOL_SOCKET)
_MSG_CTRUNC = int(socket.MSG_CTRUNC)
_MSG_TRUNC = int(socket.MSG_TRUNC)
_MSG_NOSIGNAL = int(socket.MSG_NOSIGNAL)
_SO_PASSCRED = int(socket.SO_PASSCRED)
_RECEIVE_FLAGS = int(socket.MSG_CMSG_CLOEXEC)
_PEEK_FLAGS = int(socket.MSG_PEEK) | int(socket.MSG_DONTWAIT)
_DISCARD_FLAGS = int(socket.MSG_DONTWAIT)
_ONE_FD = Struct("i")
_FD_BYTES = _ONE_FD.size
_ROOM_FOR_ONE = socket.CMSG_LEN(_FD_BYTES)
_ROOM_FOR_CREDENTIALS = socket.CMSG_LEN(3 * _FD_BYTES)  # struct ucred of unix(7)
_MOST_PLAIN_PACKETS = 4
_TRUNCATED = _MSG_CTRUNC | _MSG_TRUNC


class TruncatedError(ValueError):
    """A packet was longer than allowed, had more descriptors than allowed, or the kernel kept some back.

    Attributes:
        kept_back: the number of descriptors for which there was room, but which the kernel did not let this process
            have. It keeps back at least as many as that. 0: there were too many, or the packet was too long.
    """

    def __init__(self, message: str, kept_back: int = 0) -> None:
        super().__init__(message)
        self.kept_back = kept_back


def lend_packet(sock: socket.SocketType, packet: bytes, fds: list[int] | tuple[int, ...] = (), flags: int = 0) -> None:
    """Send one packet with copies of `fds`. The caller still owns `fds`.

    Raises:
        OSError: as sendmsg(2). Then the packet was not sent.
    """
    if fds:
        ancillary = [(_SOL_SOCKET, _SCM_RIGHTS, array("i", fds))]
        sock.sendmsg([packet], ancillary, flags | _MSG_NOSIGNAL)
    else:
        sock.send(packet, flags | _MSG_NOSIGNAL)


def take_packet(
    sock: socket.SocketType,
    max_bytes: int,
    max_fds: int,
    flags: int = 0,
    give_fd: Callable[[int], object] | None = None,
) -> tuple[bytes, list[int]]:
    """Receive one packet. The caller owns its descriptors, which are close-on-exec.

    An empty packet means that the other end closed the connection. Descriptors of a packet that does not fit go to
    `give_fd`, which closes them. The default closes them at once, and a hostile sender can make that block.

    Raises:
        TruncatedError: the packet did not fit, or the kernel kept descriptors back, because the table of this process
            is full or by its security module. `give_fd` has got all that came.
        OSError: as recvmsg(2).
    """
    room = _ROOM_FOR_ONE if max_fds == 1 else socket.CMSG_LEN(max_fds * _FD_BYTES) if max_fds else 0
    packet, ancillary, message_flags, _ = sock.recvmsg(max_bytes, room, flags | _RECEIVE_FLAGS)
    fds = _descriptors(ancillary) if ancillary else []
    if message_flags & _TRUNCATED:
        for fd in fds:
            (give_fd or _close)(fd)
        if message_flags & _MSG_TRUNC:
            raise TruncatedError("the packet is too long")
        # The kernel stops at the first one that it can't install: scm_detach_fds in net/core/scm.c.
        if len(fds) < max_fds:
            raise TruncatedError(f"only {len(fds)} descriptors came", max_fds - len(fds))
        raise TruncatedError("too many descriptors came")
    return packet, fds


def _close(fd: int) -> None:
    """Close `fd`. If its file system reports an error, ignore it, since other descriptors must be closed too."""
    try:  # noqa: SIM105  # contextlib is a slow import
        os.close(fd)
    except OSError:
        pass


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    fds: list[int] = []
    for level, message_type, data in ancillary:
        if level == _SOL_SOCKET and message_type == _SCM_RIGHTS:
            # The same for one descriptor, which most packets have, and for many.
            fds += _ONE_FD.unpack(data) if len(data) == _FD_BYTES else array("i", data[: len(data) & -_FD_BYTES])
    return fds


def peek_packet(sock: socket.SocketType, max_bytes: int) -> tuple[bytes, bool, bool]:
    """Look at the next packet without taking it: (packet, whether it is longer, whether it has descriptors).

    No descriptor of it is installed in this process. An empty packet means that the other end closed the connection.

    Raises:
        BlockingIOError: there is no packet yet.
        OSError: as recvmsg(2).
    """
    packet, _, flags, _ = sock.recvmsg(max_bytes, 0, _PEEK_FLAGS)
    return packet, flags & _MSG_TRUNC != 0, flags & _MSG_CTRUNC != 0


def copy_fds(sock: socket.SocketType, max_fds: int) -> tuple[list[int], bool]:
    """Receive close-on-exec copies of the next packet's descriptors: (copies, whether there are more of them).

    The caller owns the copies. The packet stays in the queue, so closing them closes no file.

    Raises:
        OSError: as recvmsg(2).
    """
    room = socket.CMSG_LEN(max_fds * _FD_BYTES)
    _, ancillary, message_flags, _ = sock.recvmsg(1, room, _PEEK_FLAGS | _RECEIVE_FLAGS)
    return _descriptors(ancillary), message_flags & _MSG_CTRUNC != 0


def discard_packet(sock: socket.SocketType) -> None:
    """Take the next packet and drop it. The kernel drops its descriptors without installing them.

    This calls no flush of a hostile FUSE file. But if the packet had the last copy of a socket, that is closed here,
    which can wait for its SO_LINGER.
    """
    sock.recv(1, _DISCARD_FLAGS)


def hang_up(sock: socket.SocketType) -> bool:
    """End a connection on both sides, which can still read their queues. Return whether this side has a packet."""
    try:
        sock.shutdown(socket.SHUT_RDWR)
        # With this, every packet has ancillary data without room for it. Otherwise an empty packet looks like the end.
        sock.setsockopt(_SOL_SOCKET, _SO_PASSCRED, 1)
        try:
            _, _, has_packet = peek_packet(sock, 1)
        except ConnectionResetError:
            # The other side left replies unread. The kernel reports this once, in place of the packets behind it.
            _, _, has_packet = peek_packet(sock, 1)
    except OSError:
        return False
    return has_packet


def hang_up_quickly(sock: socket.SocketType) -> bool:
    """End a connection on both sides, and drop its first packets. Return whether a packet with descriptors may be left.

    If none is left, closing the connection can't take long.
    """
    try:
        sock.shutdown(socket.SHUT_RDWR)
        sock.setsockopt(_SOL_SOCKET, _SO_PASSCRED, 1)  # as in `hang_up`
    except OSError:
        return True
    for _ in range(_MOST_PLAIN_PACKETS):
        try:
            # The credentials fit the room, so only descriptors are truncated.
            _, ancillary, flags, _ = sock.recvmsg(0, _ROOM_FOR_CREDENTIALS, _PEEK_FLAGS)
            if flags & _MSG_CTRUNC:
                return True
            if not ancillary:
                return False
            sock.recv(1, _DISCARD_FLAGS)
        except ConnectionResetError:
            continue  # as in `hang_up`
        except OSError:
            return True
    return True


def drop_connection(fd: int) -> None:
    """Take all packets of a connection after `hang_up`, and close it. This can wait for SO_LINGER.

    Otherwise the other side would get ECONNRESET instead of the replies that it has not read yet.
    """
    sock = socket.SocketType(fileno=fd)
    try:
        while hang_up(sock):
            discard_packet(sock)
    finally:
        sock.close()
