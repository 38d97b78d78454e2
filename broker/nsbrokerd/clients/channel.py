"""The channel of a client: the way of the descriptors, on which no client waits.

The broker sends descriptors over the channel, closes its own copies, and only then wakes up the client by the reply. So
when the client closes a socket, this process has no copy of it any more.

The broker makes both ends, because a client could read, shut or resize an end that it made itself.
"""

from __future__ import annotations

import array
import fcntl
import socket
import termios
from collections.abc import Sequence
from io import FileIO

from nsbroker.link import fdpass
from nsbroker.wire import encode_delivery

from .closer import Closer
from .porter import Owner

_TYPE = socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
_CLOSED_AT_ONCE = 8

_ioctl, _TIOCOUTQ = fcntl.ioctl, termios.TIOCOUTQ

_DONTWAIT = int(socket.MSG_DONTWAIT)


class Channel:
    """A pair of sockets: the broker's end, and the client's end until it is sent.

    Attributes:
        clients_end: None once the client has it.
    """

    __slots__ = ("_end", "_fd", "clients_end")

    def __init__(self, send_buffer_bytes: int) -> None:
        """Make the pair.

        Raises:
            OSError: no descriptor is left.
        """
        self.clients_end: socket.SocketType | None
        self._end, self.clients_end = socket.socketpair(socket.AF_UNIX, _TYPE)
        self._fd = self._end.fileno()
        # The client can send nothing here that this process would have to close.
        self._end.shutdown(socket.SHUT_RD)
        self._end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer_bytes)

    def hand_over(
        self, request_id: int, files: Sequence[socket.SocketType | FileIO], closer: Closer, owner: Owner
    ) -> None:
        """Send the descriptors of these files, and close the files in any case.

        The close must not be the last one of a socket, because that can take long. While the packet is untaken, it is
        not. A client should take it after the reply. If it does not wait for that, its closer does the closing.

        Raises:
            OSError: the client has closed its end, or has not taken earlier descriptors.
        """
        try:
            fdpass.lend_packet(self._end, encode_delivery(request_id), [file.fileno() for file in files], _DONTWAIT)
        except BaseException:
            closer.discard(owner, files)
            raise
        for first in range(0, len(files), _CLOSED_AT_ONCE):
            if not queued_bytes(self._fd):
                closer.discard_taken(owner, files[first:])
                return
            for file in files[first : first + _CLOSED_AT_ONCE]:
                file.close()

    def untaken_bytes(self) -> int:
        """Return how much memory the packets take that the client has not taken."""
        return queued_bytes(self._end.fileno())

    def close(self) -> None:
        """Close this process's ends. The client can still take the descriptors that were sent."""
        self._end.close()
        if self.clients_end is not None:
            self.clients_end.close()


_queued = array.array("i", [0])
"""For the kernel's answers. Only the main thread asks."""


def queued_bytes(fd: int) -> int:
    """Return how much memory the packets take that the other end of a socket has not received."""
    _ioctl(fd, _TIOCOUTQ, _queued)
    return _queued[0]
