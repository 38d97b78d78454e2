"""One connection of a client, as the broker keeps it."""

from __future__ import annotations

import array
import fcntl
import socket
import termios

from nsbroker.link import fdpass
from nsbroker.wire import Reply, encode_reply

from .peer import Peer
from .users import User

SEND_BUFFER_BYTES = 32768
"""Of replies in flight; the kernel doubles it. The default would hold thousands of sockets of a client that never
reads."""

_PACKET_OVERHEAD_BYTES = 1024
"""What the kernel counts for a small packet besides its bytes, at most. For a large one it can be as much again: that
fits all the same, since another reply is made only while most of the buffer is free."""

_DONTWAIT = int(socket.MSG_DONTWAIT)


class Client:
    """A connection, who is on the other end, and how much of what was sent it may not have read yet."""

    __slots__ = ("_most_unread_bytes", "_unread_bytes", "blocked_since", "fd", "peer", "sock", "user")

    def __init__(self, sock: socket.SocketType, peer: Peer, user: User) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        # A quarter of the buffer, as for the kernel's EPOLLOUT: the hub waits for that event, and by a stricter measure
        # would be told at once, again and again.
        self._most_unread_bytes = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) // 4
        self.sock = sock
        self.fd = sock.fileno()
        self.peer = peer
        self.user = user
        self.blocked_since: float | None = None
        self._unread_bytes = 0

    @property
    def is_closed(self) -> bool:
        """Tell whether the connection was dropped."""
        return self.sock.fileno() < 0

    def reads_its_replies(self) -> bool:
        """Tell whether another reply fits for sure. The kernel is asked only when it might not."""
        if self._unread_bytes < self._most_unread_bytes:
            return True
        queued = array.array("i", [0])
        fcntl.ioctl(self.fd, termios.TIOCOUTQ, queued)
        self._unread_bytes = queued[0]
        return self._unread_bytes < self._most_unread_bytes

    def reply(self, reply: Reply, fds: list[int] | tuple[int, ...] = ()) -> None:
        """Send a reply; the caller keeps its own copies of `fds`.

        Raises:
            OSError: it can't be delivered; the connection is of no more use.
        """
        packet = encode_reply(reply)
        self._unread_bytes += len(packet) + _PACKET_OVERHEAD_BYTES
        fdpass.lend_packet(self.sock, packet, fds, _DONTWAIT)
