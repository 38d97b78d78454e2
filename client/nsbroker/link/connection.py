"""Connections to the broker: requests out, replies in. A pool keeps the idle ones.

The descriptors of a reply come before it, over a channel of their own, on which no code waits. So the broker has closed
its copies before this process wakes up for the reply.

The socket is non-blocking, and every wait has a deadline. SO_RCVTIMEO would save 0.3 us per request, but it starts anew
after each signal (PEP 475), so a program with a ticking timer would hang forever.
"""

from __future__ import annotations

import atexit
import errno
import os
import socket
from array import array
from os import getegid, geteuid, getpid
from time import monotonic

from ..wire.bounds import MAX_PACKET_BYTES, MAX_REQUEST_ID
from ..wire.messages import ErrorReply, ProtocolError, Reply
from ..wire.replies import announced_descriptors, decode_reply, encode_delivery
from .errors import CONFINED, BrokerProtocolError
from .fdpass import TruncatedError, lend_packet, take_packet
from .waiting import READ, WRITE, DeadlineError, wait

MAX_IDLE = 16
"""Idle connections that a pool keeps. The broker counts them as the user's."""

_LOST = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ECONNREFUSED, errno.ENOTCONN})
_DONTWAIT = int(socket.MSG_DONTWAIT)
_SOCKET_TYPE = int(socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
_LONGEST_PAUSE_S = 0.05
_QUEUE_FULL = frozenset({errno.EAGAIN, errno.ENOTCONN})
_QUEUE_TIME = array("l", (0, 10_000)).tobytes()
"""How long connect(2) waits in the queue for the backlog: a `struct timeval` of 10 ms."""

_open_connections: set[Connection] = set()
"""Every open connection of this process."""


class ConnectionLostError(Exception):
    """The broker closed the connection, and its unanswered requests with it."""


class Connection:
    """A connection that exactly one call uses at a time. It never waits itself: wait for `readable` or `writable`.

    Attributes:
        owner: the process that connected, with its effective user and group at that time. A forked child shares the
            socket and must not use it. A program that gave up root must not use a connection that the broker takes for
            root's.
        unanswered: the number of requests without a reply. Unless it is 0, no other call can use the connection.
    """

    __slots__ = ("_channel", "_request_id", "_sock", "owner", "readable", "unanswered", "writable")

    def __init__(self, sock: socket.SocketType) -> None:
        self._sock = sock
        # The broker makes it, and sends it with its first reply that has descriptors.
        self._channel: socket.SocketType | None = None
        self.readable = ((sock, READ),)
        self.writable = ((sock, WRITE),)
        self._request_id = 0
        self.owner = getpid(), geteuid(), getegid()
        self.unanswered = 0
        _open_connections.add(self)

    def is_usable(self) -> bool:
        """Return whether the connection is open and still belongs to this process with its present user."""
        return self._sock.fileno() >= 0 and self.owner == (getpid(), geteuid(), getegid())

    def close(self) -> None:
        """Close this process's copy. shutdown(2) would also end the connection of a parent or child."""
        _open_connections.discard(self)
        self._sock.close()
        if self._channel is not None:
            self._channel.close()

    def next_id(self) -> int:
        """Return an id for the next request. No two requests of a connection have the same id."""
        self._request_id = self._request_id % MAX_REQUEST_ID + 1
        return self._request_id

    def send(self, packet: bytes, fds: tuple[int, ...]) -> bool:
        """Send a request with copies of `fds`. Return whether there was room for it.

        Raises:
            ConnectionLostError: the broker closed the connection.
            OSError: as sendmsg(2), for example EBADF if one of `fds` is not open.
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

    def receive(self) -> tuple[Reply, list[int]] | None:
        """Return the next reply with its descriptors, which the caller owns, or `None` if there is no reply yet.

        After an error, no other call can use the connection: it counts as unanswered.

        Raises:
            ConnectionLostError: the broker closed the connection.
            BrokerProtocolError: the packet is no reply, or other descriptors came than it announces. All are closed.
            OSError: EMFILE if this process has no room for the descriptors, EACCES if a security module keeps them
                from it. All are closed.
        """
        most_fds = 1 if self._channel is None else 0
        try:
            packet, fds = take_packet(self._sock, MAX_PACKET_BYTES, most_fds)
        except BlockingIOError:
            return None
        except TruncatedError as error:
            raise _explain_truncation(error, most_fds) from error
        except OSError as error:
            if error.errno in _LOST:
                raise ConnectionLostError(str(error)) from error
            raise
        brings_channel = bool(fds)
        if brings_channel:
            self._channel = _make_channel(fds.pop())
        if not packet:
            raise ConnectionLostError("end of file")
        try:
            reply = decode_reply(packet)
        except ProtocolError as error:
            raise _invalid(error) from error
        if not isinstance(reply, ErrorReply):
            fds = self._take_delivery(reply.request_id, announced_descriptors(reply))
        elif brings_channel:
            raise _invalid("a refusal brings a descriptor")
        self.unanswered -= 1
        return reply, fds

    def _take_delivery(self, request_id: int, count: int) -> list[int]:
        """Take the descriptors of a reply off the channel, where they are already, without waiting."""
        if self._channel is None:
            raise _invalid("it announces descriptors, but there is no channel")
        expected = encode_delivery(request_id)
        try:
            packet, fds = take_packet(self._channel, len(expected), count, _DONTWAIT)
        except TruncatedError as error:
            raise _explain_truncation(error, count) from error
        except OSError as error:
            raise _invalid(f"its descriptors did not come before it: {error.strerror}") from error
        if packet != expected or len(fds) != count:
            for fd in fds:
                os.close(fd)
            raise _invalid(f"{len(fds)} descriptors came before it in place of its {count}, or those of another reply")
        return fds


def _make_channel(fd: int) -> socket.SocketType:
    try:
        return socket.SocketType(socket.AF_UNIX, _SOCKET_TYPE, 0, fd)
    except OSError as error:
        os.close(fd)
        raise _invalid(f"the channel is no socket: {error.strerror}") from error


def _invalid(reason: object) -> BrokerProtocolError:
    return BrokerProtocolError(errno.EPROTO, f"the broker's reply is not valid: {reason}")


def _explain_truncation(error: TruncatedError, most_fds: int) -> OSError:
    # The kernel sets MSG_CTRUNC for descriptors beyond the room in the buffer, beyond RLIMIT_NOFILE, and for those that
    # the hook file_receive of a security module refuses.
    limit = os.sysconf("SC_OPEN_MAX")
    if len(os.listdir("/proc/self/fd")) + most_fds > limit:
        text = f"{os.strerror(errno.EMFILE)}: no room for {most_fds} sockets, RLIMIT_NOFILE is {limit}"
        return OSError(errno.EMFILE, text)
    if error.kept_back:
        text = f"{os.strerror(errno.EACCES)}: the kernel kept back {error.kept_back} of {most_fds} descriptors: "
        return OSError(errno.EACCES, f"{text}{CONFINED}")
    return _invalid(error)


async def connect_to_broker(path: str, deadline: float) -> Connection:
    """Connect to the broker's socket. While its backlog is full (EAGAIN), try again.

    Event loops take EAGAIN for EINPROGRESS and would report success, so `waiting.connect` can't do this.

    Raises:
        DeadlineError: the backlog stayed full until `deadline`.
        OSError: as connect(2).
    """
    sock = socket.SocketType(socket.AF_UNIX, _SOCKET_TYPE)
    pause_s = 0.001
    try:
        # With a default timeout in the program, the socket module would wait as well.
        sock.settimeout(0)
        while True:
            try:
                sock.connect(path)
                sock.getpeername()  # an interrupt can end `connect` too early, without an error
                sock.settimeout(0)
                return Connection(sock)
            except OSError as error:
                if error.errno not in _QUEUE_FULL:
                    raise
                if monotonic() + pause_s > deadline:
                    raise DeadlineError from None
                if sock.gettimeout() is None:
                    await wait(monotonic() + pause_s, ())
                    pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                # The kernel lets those in that wait in connect(2), one after the other. While a user opens too many
                # connections, others hardly find room without that. It holds up an event loop only for a moment.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _QUEUE_TIME)
                sock.settimeout(None)
    except BaseException:
        sock.close()
        raise


class Pool:
    """Idle connections to one broker.

    A call takes a connection out and gives it back, so two calls never share one: not two threads, not a signal handler
    and the code that it interrupts, not a parent and its child. The last one used is the first one taken.
    """

    __slots__ = ("_idle",)

    def __init__(self) -> None:
        # list.append and list.pop are atomic, so there is no lock that a fork could leave taken.
        self._idle: list[Connection] = []

    def take(self) -> Connection | None:
        """Take a connection out, or return `None` if the pool is empty. The broker may have closed the connection."""
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if connection.is_usable():
                return connection
            connection.close()
        return None

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for later. Close it if a late reply could be taken for the reply to another request."""
        if not connection.unanswered and len(self._idle) < MAX_IDLE:
            self._idle.append(connection)
        else:
            connection.close()

    def clear(self) -> None:
        """Close the idle connections."""
        while self._idle:
            try:
                self._idle.pop().close()
            except IndexError:
                return


def _close_all() -> None:
    for connection in list(_open_connections):
        connection.close()


os.register_at_fork(after_in_child=_close_all)
atexit.register(_close_all)
