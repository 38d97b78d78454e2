"""One connection to the broker: requests go out, replies come in, and each wait for them has an end.

The socket is non-blocking and every wait has a deadline. SO_RCVTIMEO would save 0.3 us a request, but starts anew
after each signal (PEP 475), so that a program with a ticking timer would hang for ever.
"""

from __future__ import annotations

import errno
import os
import socket
from os import getegid, geteuid, getpid
from time import monotonic

from ..wire.bounds import MAX_PACKET_BYTES, MAX_REQUEST_ID
from ..wire.messages import ProtocolError, Reply
from ..wire.codec import decode_reply
from .errors import BrokerProtocolError
from .fdpass import TruncatedError, lend_packet, take_packet
from .waiting import READ, WRITE, DeadlineError

_LOST = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ECONNREFUSED, errno.ENOTCONN})
_SOCKET_TYPE = int(socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
_LONGEST_PAUSE_S = 0.05

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .waiting import Steps

open_connections: set[Connection] = set()
"""Every connection of this process that is open; `pool` closes the copies of them in a forked child."""


class ConnectionLostError(Exception):
    """The broker is gone, or closed the connection. What it had not answered died with the connection."""


class Connection:
    """A connection that exactly one call uses at a time.

    It never waits: `readable` and `writable` are what to wait for.

    Attributes:
        owner: the process that connected, and its effective user and group then. A forked child shares the socket and
            must not use it; a program that gave up root must not go on with what the broker takes for root's.
        unanswered: requests sent less replies received. Unless it is 0 the connection can't be used for another call.
    """

    __slots__ = ("_request_id", "_sock", "owner", "readable", "unanswered", "writable")

    def __init__(self, sock: socket.SocketType) -> None:
        self._sock = sock
        self.readable = ((sock, READ),)
        self.writable = ((sock, WRITE),)
        self._request_id = 0
        self.owner = getpid(), geteuid(), getegid()
        self.unanswered = 0
        open_connections.add(self)

    def is_usable(self) -> bool:
        """Tell whether it is open, and this process is still who connected."""
        return self._sock.fileno() >= 0 and self.owner == (getpid(), geteuid(), getegid())

    def close(self) -> None:
        """Close this process's copy; never shutdown(2), which would end a parent's or child's connection as well."""
        open_connections.discard(self)
        self._sock.close()

    def next_id(self) -> int:
        """Give the id of the next request; no two requests of a connection have the same."""
        self._request_id = self._request_id % MAX_REQUEST_ID + 1
        return self._request_id

    def send(self, packet: bytes, fds: tuple[int, ...]) -> bool:
        """Send a request, with copies of `fds`, unless there is no room for it: then False.

        Raises:
            ConnectionLostError: the other end is gone.
            OSError: as sendmsg(2), for example EBADF when one of `fds` is none.
        """
        self.unanswered += 1
        try:
            lend_packet(self._sock, packet, fds)
        except BlockingIOError:
            self.unanswered -= 1
            return False
        except OSError as error:
            if error.errno in _LOST:
                raise ConnectionLostError(str(error)) from error
            raise
        return True

    def receive(self, max_fds: int) -> tuple[Reply, list[int]] | None:
        """Take the next reply, if there is one; the caller owns the descriptors that come with it.

        Raises:
            ConnectionLostError: the other end is gone.
            BrokerProtocolError: what came is no reply, or brought more than `max_fds` descriptors. All are closed.
            OSError: EMFILE when this process has no room for the descriptors. All are closed.
        """
        try:
            packet, fds = take_packet(self._sock, MAX_PACKET_BYTES, max_fds)
        except BlockingIOError:
            return None
        except TruncatedError as error:
            raise _explain_truncation(error, max_fds) from error
        except OSError as error:
            if error.errno in _LOST:
                raise ConnectionLostError(str(error)) from error
            raise
        return self._decode(packet, fds), fds

    def _decode(self, packet: bytes, fds: list[int]) -> Reply:
        try:
            if not packet:
                raise ConnectionLostError("end of file")
            reply = decode_reply(packet)
        except BaseException as error:
            for fd in fds:
                os.close(fd)
            if isinstance(error, ProtocolError):
                raise BrokerProtocolError(errno.EPROTO, f"what came is no reply of a broker: {error}") from error
            raise
        self.unanswered -= 1
        return reply


def _explain_truncation(error: TruncatedError, max_fds: int) -> OSError:
    # The kernel says MSG_CTRUNC both for descriptors past the room that was made and past RLIMIT_NOFILE.
    limit = os.sysconf("SC_OPEN_MAX")
    if len(os.listdir("/proc/self/fd")) + max_fds > limit:
        text = f"{os.strerror(errno.EMFILE)}: no room for {max_fds} sockets, RLIMIT_NOFILE is {limit}"
        return OSError(errno.EMFILE, text)
    return BrokerProtocolError(errno.EPROTO, f"what came is no reply of a broker: {error}")


def connect(path: str, deadline: float) -> Steps[Connection]:
    """Connect to the broker's socket; while its backlog is full (EAGAIN), try again.

    By hand, since event loops take EAGAIN for EINPROGRESS, and would report success.

    Raises:
        DeadlineError: the backlog stayed full until `deadline`.
        OSError: as connect(2).
    """
    sock = socket.SocketType(socket.AF_UNIX, _SOCKET_TYPE)
    pause_s = 0.001
    try:
        # A default timeout of the program's would make the socket module wait as well.
        sock.settimeout(0)
        while True:
            try:
                sock.connect(path)
                return Connection(sock)
            except BlockingIOError:
                if monotonic() + pause_s > deadline:
                    raise DeadlineError from None
                yield monotonic() + pause_s, ()
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
    except BaseException:
        sock.close()
        raise
