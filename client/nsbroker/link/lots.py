"""`Lot`: sockets that are ready for a program, and the thread that closes them in time.

There is no lock, because a fork or a signal handler could find it taken. Each step on a shared list or set is atomic.
"""

from __future__ import annotations

import os
import socket
from _thread import start_new_thread
from time import monotonic, sleep

from ..wire.messages import EnteredNamespace
from .proof import COOKIE_BYTES, SO_COOKIE

_SOL_SOCKET = int(socket.SOL_SOCKET)
_PAUSE_S = 0.1
_LAST_PAUSES = 10
"""So long the thread waits for further lots before it ends."""

Owner = tuple[int, int, int]
"""A process, with its effective user and group."""


class Lot:
    """The sockets of one reply, each with its cookie, without the one that the caller got.

    Attributes:
        entered: their namespace.
        owner: the process, user and group that asked for them.
        use_until: the end of their use, in the time of `time.monotonic`. They are closed a moment later.
        stock: the object to which they belong.
    """

    __slots__ = ("_sockets", "entered", "owner", "stock", "use_until")

    def __init__(
        self,
        sockets: list[tuple[socket.SocketType, bytes]],
        entered: EnteredNamespace,
        owner: Owner,
        use_until: float,
        stock: object,
    ) -> None:
        self._sockets = sockets
        self.entered = entered
        self.owner = owner
        self.use_until = use_until
        self.stock = stock

    def __len__(self) -> int:
        return len(self._sockets)

    def take(self) -> socket.SocketType | None:
        """Take a socket out, which the caller then owns. `None` means that there is none."""
        try:
            sock, cookie = self._sockets.pop()
        except IndexError:
            return None
        try:
            # A program may close all descriptors, and open files that get their numbers.
            if sock.getsockopt(_SOL_SOCKET, SO_COOKIE, COOKIE_BYTES) == cookie:
                return sock
        except OSError:
            pass
        sock.detach()
        return None

    def close(self) -> None:
        """Close the sockets. Other holders of them do not notice."""
        _lots.discard(self)
        while self._sockets:
            if (sock := self.take()) is not None:
                sock.close()


_lots: set[Lot] = set()
"""Every lot of this process that may have sockets."""
_may_start: list[None] = [None]
"""The thread takes the item out when it starts, and puts it back when it ends."""


def keep(lot: Lot) -> bool:
    """Have a lot closed when its time is over. Return whether this is possible. If not, the lot is closed now."""
    _lots.add(lot)
    if _claim():
        try:
            start_new_thread(_close_in_time, ())
        except RuntimeError:  # No thread is left to this user, or the interpreter ends.
            _may_start.append(None)
            lot.close()
            return False
    return True


def close_lots(stock: object) -> bool:
    """Close all lots of a stock. Return whether one of them had a socket."""
    has_closed = False
    for lot in list(_lots):
        if lot.stock is stock:
            has_closed = has_closed or len(lot) > 0
            lot.close()
    return has_closed


def _claim() -> bool:
    try:
        _may_start.pop()
    except IndexError:
        return False
    return True


def _close_in_time() -> None:
    pauses = _LAST_PAUSES
    while True:
        sleep(_PAUSE_S)
        now = monotonic()
        for lot in list(_lots):
            if now >= lot.use_until or not lot:
                lot.close()
        pauses = pauses - 1 if not _lots else _LAST_PAUSES
        if pauses <= 0:
            _may_start.append(None)
            if not _lots or not _claim():
                return
            pauses = _LAST_PAUSES


def _forget() -> None:
    """Close a forked child's copies. The thread did not come along."""
    for lot in list(_lots):
        lot.close()
    _may_start[:] = [None]


os.register_at_fork(after_in_child=_forget)
