"""One connection of a client, as the broker keeps it."""

from __future__ import annotations

import array
import fcntl
import socket
import termios

from nsbroker import fdpass
from nsbroker.wire import Reply, encode_reply

from .peer import Peer
from .users import User

SEND_BUFFER_BYTES = 65536
"""Of replies in flight. The default would hold thousands of sockets of a client that never reads."""

_PACKET_OVERHEAD_BYTES = 1024
"""What the kernel counts for a packet besides its bytes, at most; for small ones it is less."""

_DONTWAIT = int(socket.MSG_DONTWAIT)


class Client:
    """A connection, who is on the other end, and how much of what was sent it may not have read yet."""

    __slots__ = ("_unread_bytes", "blocked_since", "fd", "peer", "sock", "user")

    def __init__(self, sock: socket.SocketType, peer: Peer, user: User) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
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
        if self._unread_bytes < SEND_BUFFER_BYTES // 4:
            return True
        queued = array.array("i", [0])
        fcntl.ioctl(self.fd, termios.TIOCOUTQ, queued)
        self._unread_bytes = queued[0]
        return self._unread_bytes < SEND_BUFFER_BYTES // 4

    def reply(self, reply: Reply, fds: list[int] | tuple[int, ...] = ()) -> None:
        """Send a reply; the caller keeps its own copies of `fds`.

        Raises:
            OSError: it can't be delivered; the connection is of no more use.
        """
        packet = encode_reply(reply)
        self._unread_bytes += len(packet) + _PACKET_OVERHEAD_BYTES
        fdpass.lend_packet(self.sock, packet, fds, _DONTWAIT)
