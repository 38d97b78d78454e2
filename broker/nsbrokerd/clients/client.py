"""A connected client: its connection, its identity, and the user that it belongs to."""

from __future__ import annotations

import array
import fcntl
import socket
import termios
from collections import Counter

from nsbroker.link import fdpass
from nsbroker.wire import Reply, encode_reply

from .peer import Peer

SEND_BUFFER_BYTES = 32768
"""Room for replies in flight. The kernel doubles it. The default would hold thousands of sockets of a client that never
reads."""

_PACKET_OVERHEAD_BYTES = 1024
"""The most that the kernel counts for a small packet besides its bytes. A large packet can count twice this: it still
fits, since the broker makes another reply only while most of the buffer is free."""

BURST_S = 1.0
"""Seconds of its rate that a user may use up at once."""

_RECORD_EXCESS_EACH_S = 1.0
"""Seconds from one audit record about requests beyond the rate to the next."""

_DONTWAIT = int(socket.MSG_DONTWAIT)


class User:
    """One uid, and how much of the broker it uses.

    Attributes:
        clients: the number of connections.
        tasks: by operation, the number of requests that are served in tasks of their own.
        allowance: the number of requests that the user may make right now.
        refilled_at: the time of the last request, on the clock of time.monotonic().
    """

    __slots__ = ("_excess_recorded_at", "_unrecorded_excess", "allowance", "clients", "refilled_at", "tasks", "uid")

    def __init__(self, uid: int, now: float, rate: int) -> None:
        self.uid = uid
        self.clients = 0
        self.tasks: Counter[str] = Counter()
        self.allowance = rate * BURST_S
        self.refilled_at = now
        self._excess_recorded_at = float("-inf")
        self._unrecorded_excess = 0

    def take_request(self, now: float, rate: int) -> bool:
        """Count one request, and return False if the user made more than `rate` requests in a second."""
        self.allowance = min(rate * BURST_S, self.allowance + (now - self.refilled_at) * rate)
        self.refilled_at = now
        if self.allowance < 1:
            return False
        self.allowance -= 1
        return True

    def count_excess(self, now: float) -> int | None:
        """Count a request beyond the rate, and decide whether the audit records it.

        Returns:
            None without a record, otherwise the number of unrecorded requests since the last record.
        """
        if now - self._excess_recorded_at < _RECORD_EXCESS_EACH_S:
            self._unrecorded_excess += 1
            return None
        unrecorded, self._unrecorded_excess, self._excess_recorded_at = self._unrecorded_excess, 0, now
        return unrecorded


class Client:
    """A connection, the identity of its other end, and an estimate of the bytes that the other end has not read."""

    __slots__ = ("_most_unread_bytes", "_unread_bytes", "blocked_since", "fd", "peer", "sock", "user")

    def __init__(self, sock: socket.SocketType, peer: Peer, user: User) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        # A quarter of the buffer, as for the kernel's EPOLLOUT: the hub waits for that event. With a stricter measure,
        # the event would come at once, again and again.
        self._most_unread_bytes = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) // 4
        self.sock = sock
        self.fd = sock.fileno()
        self.peer = peer
        self.user = user
        self.blocked_since: float | None = None
        self._unread_bytes = 0

    @property
    def is_closed(self) -> bool:
        """Whether the broker has dropped the connection."""
        return self.sock.fileno() < 0

    def reads_its_replies(self) -> bool:
        """Return whether another reply certainly fits. This asks the kernel only if the estimate leaves a doubt."""
        if self._unread_bytes < self._most_unread_bytes:
            return True
        queued = array.array("i", [0])
        fcntl.ioctl(self.fd, termios.TIOCOUTQ, queued)
        self._unread_bytes = queued[0]
        return self._unread_bytes < self._most_unread_bytes

    def reply(self, reply: Reply, fds: list[int] | tuple[int, ...] = ()) -> None:
        """Send a reply. The caller keeps its own copies of `fds`.

        Raises:
            OSError: the reply can't be delivered, so the connection is useless now.
        """
        packet = encode_reply(reply)
        self._unread_bytes += len(packet) + _PACKET_OVERHEAD_BYTES
        fdpass.lend_packet(self.sock, packet, fds, _DONTWAIT)
