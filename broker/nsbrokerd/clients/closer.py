"""Closes connections and the descriptors that clients sent, in threads: closing a client's file can take forever.

close(2) calls flush, and on a client's own FUSE file system the client decides when to answer. The last close of a
socket waits as long as its SO_LINGER says, or 16 ms for a packet socket. Dropping a packet that carries the socket can
also be the last close, and so can closing a connection that has this packet in its queue.

Each user has its own threads while something of it must be closed, so a user can delay only its own closes. A user has
several threads for connections: each close waits for a grace period of RCU, and one period can serve many closes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from nsbroker.link import fdpass

MAX_PENDING_FOR_USER = 16
"""Above this, the broker drops descriptors of that user without receiving them."""

MAX_CONNECTION_LANES = 32
"""Threads for the connections of one user."""

MAX_LANES = 64
"""Threads for descriptors, of all users. Above this, descriptors are accepted only from users that already have a
closing thread: one person can have many user ids."""

INTERRUPT = signal.SIGURG
"""Ends the wait of SO_LINGER. The process must have a handler for it: an ignored signal interrupts no system call."""

_IMPATIENT_AFTER_S = 0.1


class _LaneName(NamedTuple):
    """A lane for a user's descriptors or for its connections. Only a close of a descriptor may hang despite signals."""

    uid: int
    has_connections: bool
    number: int = 0


@dataclass(slots=True)
class _Lane:
    thread: threading.Thread
    fds: deque[int] = field(default_factory=deque)
    began_at: float = 0.0


class Closer:
    """Threads that only close. Owns every descriptor that it takes."""

    def __init__(
        self, close: Callable[[int], None] = os.close, drop: Callable[[int], None] = fdpass.drop_connection
    ) -> None:
        self._close = close
        self._drop = drop
        self._lanes: dict[_LaneName, _Lane] = {}
        self._lock = threading.Lock()

    def is_full(self, uid: int) -> bool:
        """Return whether too many descriptors wait to be closed already: of this user, or of all users."""
        if not self._lanes:
            return False
        with self._lock:
            lane = self._lanes.get(_LaneName(uid, False))
            if lane is not None:
                return len(lane.fds) >= MAX_PENDING_FOR_USER
            return sum(not name.has_connections for name in self._lanes) >= MAX_LANES

    @property
    def connections(self) -> int:
        """The number of connections that are not closed yet."""
        if not self._lanes:
            return 0
        with self._lock:
            return sum(len(lane.fds) for name, lane in self._lanes.items() if name.has_connections)

    def take_fds(self, uid: int, fds: Iterable[int]) -> None:
        """Take over descriptors that a client sent, and close them at some time."""
        for fd in fds:
            self._put(_LaneName(uid, False), fd)

    def hang_up(self, uid: int, connection: socket.SocketType) -> None:
        """Take over a connection and end it: at once, or in a thread if it has unread packets with descriptors."""
        if fdpass.hang_up(connection):
            self.take_connection(uid, connection.detach())
        else:
            connection.close()

    def take_connection(self, uid: int, fd: int) -> None:
        """Take over a connection, and at some time drop its packets and close it."""
        names = (_LaneName(uid, True, number) for number in range(MAX_CONNECTION_LANES))
        self._put(next(filter(self._has_room, names), _LaneName(uid, True, fd % MAX_CONNECTION_LANES)), fd)

    def _has_room(self, name: _LaneName) -> bool:
        lane = self._lanes.get(name)
        return lane is None or len(lane.fds) < MAX_PENDING_FOR_USER

    def interrupt(self) -> None:
        """Interrupt the closes that take long, where signals help. The hub calls this each second."""
        before = time.monotonic() - _IMPATIENT_AFTER_S
        with self._lock:
            for lane in self._lanes.values():
                if lane.thread.ident is None:
                    _try_start(lane)
                elif lane.began_at < before:
                    _interrupt(lane)

    def _put(self, name: _LaneName, fd: int) -> None:
        with self._lock:
            lane = self._lanes.get(name)
            if lane is None:
                thread = threading.Thread(target=self._run, args=(name,), name="closer", daemon=True)
                lane = self._lanes[name] = _Lane(thread, deque([fd]), time.monotonic())
                _try_start(lane)
                return
            lane.fds.append(fd)
            if len(lane.fds) > MAX_PENDING_FOR_USER:
                _interrupt(lane)

    def _run(self, name: _LaneName) -> None:
        while True:
            with self._lock:
                lane = self._lanes[name]
                if not lane.fds:
                    del self._lanes[name]
                    return
                fd, lane.began_at = lane.fds[0], time.monotonic()
                # A client can still read its last replies, unless dozens of its user's connections hang: dropping
                # packet by packet takes an interrupt for each.
                is_polite = name.has_connections and len(lane.fds) < MAX_PENDING_FOR_USER
                close = self._drop if is_polite else self._close
            try:
                close(fd)
            except OSError:
                pass  # an error of flush concerns only the client
            finally:
                with self._lock:
                    lane.fds.popleft()


def _try_start(lane: _Lane) -> None:
    """Start the thread of a lane. If the process can't have more threads, `interrupt` tries again."""
    with contextlib.suppress(RuntimeError):
        lane.thread.start()


def _interrupt(lane: _Lane) -> None:
    """Interrupt the thread of a lane. The caller holds the lock, so a thread that was started is alive."""
    if lane.thread.ident is not None:
        signal.pthread_kill(lane.thread.ident, INTERRUPT)
