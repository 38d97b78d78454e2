"""Closes connections of clients, and files of ours that clients have touched: here, if that can't take long.

The last close of a socket waits as long as its SO_LINGER says, or 16 ms for a packet socket. Closing a connection also
drops the packets in its queue, and with them the descriptors that no one has received. Some of these wait for the
client's own file system. Then a porter is the last to close it.
"""

from __future__ import annotations

import contextlib
import socket
from collections import deque
from collections.abc import Iterable
from io import FileIO

from nsbroker.link import fdpass

from .porter import Owner, Taken
from .porters import Porters

MAX_FILES_OF_PERSON = 16
"""Above this many files that a person's porter has yet to close, the person gets no more sockets that close slowly."""

MANY_CONNECTIONS = 512
"""Above this, the connections of a person are dropped without courtesy."""

SLOW_TO_CLOSE = (int(socket.AF_PACKET), int(socket.AF_UNIX))
"""Families of sockets that can wait in their last close though no client has got them. A Unix socket is found by its
name, and so it can have packets with descriptors."""


class Closer:
    """Closes what needs care. Owns every file that it takes."""

    def __init__(self, porters: Porters | None = None) -> None:
        """Close by these porters. Without any, it has its own at need."""
        self._given = porters
        self._left: deque[tuple[Owner, socket.SocketType]] = deque()

    @property
    def _porters(self) -> Porters:
        self._given = self._given or Porters()
        return self._given

    @property
    def connections(self) -> int:
        """The number of connections that are not closed yet."""
        return self._porters.connections

    @property
    def held(self) -> int:
        """The number of descriptors in this process that wait to be closed."""
        return self._porters.held + len(self._left)

    def fileno(self) -> int:
        """Return a descriptor that is readable when `serve` has something to do."""
        return self._porters.fileno()

    def serve(self) -> None:
        """Read the porters' reports."""
        self._porters.serve()

    def sweep(self) -> None:
        """Go on without porters that hang, and take over the files of other threads. The hub calls this each second."""
        self._take_over()
        self._porters.sweep()

    def finish(self) -> None:
        """Leave the rest to the porters, at the end of this process."""
        self._take_over()
        self._porters.finish()

    def _take_over(self) -> None:
        while self._left:
            owner, file = self._left.popleft()
            self.discard(owner, (file,))

    def is_full(self, owner: Owner) -> bool:
        """Return whether too many files of this person wait to be closed already."""
        return self._porters.files_of(owner) >= MAX_FILES_OF_PERSON

    def take_fds(self, owner: Owner, connection: socket.SocketType, most: int) -> Taken | None:
        """Let a porter take the next packet of a connection, with at most `most` descriptors. See `Porters.take`."""
        return self._porters.take(owner, connection, most)

    def discard(self, owner: Owner, files: Iterable[socket.SocketType | FileIO]) -> None:
        """Close files of ours that no client has got. The kernel takes 10 ms or more for the last close of some."""
        for file in files:
            if isinstance(file, socket.SocketType) and file.family in SLOW_TO_CLOSE:
                self._porters.close(owner, file.detach())
            else:
                file.close()

    def discard_in_thread(self, owner: Owner, files: Iterable[socket.SocketType]) -> None:
        """Do the same in any thread. Only the main thread uses porters, so it takes the slow files over a bit later."""
        for file in files:
            if file.family in SLOW_TO_CLOSE:
                self._left.append((owner, file))
            else:
                file.close()

    def discard_taken(self, owner: Owner, files: Iterable[socket.SocketType | FileIO]) -> None:
        """Close files of ours that a client has got before its reply. If it has closed them, this is the last close.

        It can have told a socket by SO_LINGER to wait for its peer then, or can have sent a descriptor to it.
        """
        for file in files:
            if isinstance(file, socket.SocketType):
                self._porters.close(owner, file.detach())
            else:
                file.close()

    def hang_up(self, owner: Owner, connection: socket.SocketType, *, is_at_porter: bool = False) -> None:
        """Take over a connection and end it: here, or by a porter if descriptors may be unread.

        The client can still read its last replies.

        Args:
            owner: the person.
            connection: the connection.
            is_at_porter: whether the porter may be taking a packet off it. Then this process must not look into it.
        """
        self._end(owner, connection, is_at_porter=is_at_porter, is_answered=owner.closing < MANY_CONNECTIONS)

    def turn_away(self, owner: Owner, connection: socket.SocketType, *, is_answered: bool) -> None:
        """Take over a connection without a client, and end it. If it was answered, it can read the answer."""
        self._end(owner, connection, is_at_porter=False, is_answered=is_answered and owner.closing < MANY_CONNECTIONS)

    def _end(self, owner: Owner, connection: socket.SocketType, *, is_at_porter: bool, is_answered: bool) -> None:
        if is_at_porter:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        elif not fdpass.hang_up_quickly(connection):
            connection.close()
            return
        self._porters.drop(owner, connection.detach(), has_courtesy=is_answered)
