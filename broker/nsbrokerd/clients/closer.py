"""Closes what clients sent and what is no namespace: elsewhere, since the last close of a file can take for ever.

close(2) calls flush, and on a file of the client's own FUSE file system this is answered when the client likes to. The
last close of a socket waits as long as its SO_LINGER says, or 16 ms for a packet socket; and it is the last close, too,
when a packet is dropped that carried the socket, or a connection that has such a packet in its queue.

Each user has threads of its own, while there is something to close: whoever hangs one, hangs it for itself. It has more
of them for connections, when many hang: what each is waited for (a grace period of RCU) is over for all at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from nsbroker.link import fdpass

MAX_PENDING_FOR_USER = 16
"""From here on, descriptors of that user are dropped without being received."""

MAX_CONNECTION_LANES = 32
"""Threads for the connections of one user."""

MAX_LANES = 64
"""For descriptors, of all users. From here on, nobody's are received who has none that wait: one person can have many
user ids."""

INTERRUPT = signal.SIGURG
"""Ends the waiting of SO_LINGER. The process must have a handler for it: what is ignored interrupts nothing."""

_IMPATIENT_AFTER_S = 0.1


class _LaneName(NamedTuple):
    """One user's descriptors, or its connections: the former may hang past every signal, the latter do not."""

    uid: int
    has_connections: bool
    number: int = 0


@dataclass(slots=True)
class _Lane:
    thread: threading.Thread
    fds: deque[int] = field(default_factory=deque)
    began_at: float = 0.0


class Closer:
    """Threads that close, and do nothing else. Owns every descriptor that it takes."""

    def __init__(
        self, close: Callable[[int], None] = os.close, drop: Callable[[int], None] = fdpass.drop_connection
    ) -> None:
        self._close = close
        self._drop = drop
        self._lanes: dict[_LaneName, _Lane] = {}
        self._lock = threading.Lock()

    def is_full(self, uid: int) -> bool:
        """Tell whether too many descriptors wait to be closed already: of this user, or of all."""
        if not self._lanes:
            return False
        with self._lock:
            lane = self._lanes.get(_LaneName(uid, False))
            if lane is not None:
                return len(lane.fds) >= MAX_PENDING_FOR_USER
            return sum(not name.has_connections for name in self._lanes) >= MAX_LANES

    @property
    def connections(self) -> int:
        """Count the connections that are not closed yet."""
        if not self._lanes:
            return 0
        with self._lock:
            return sum(len(lane.fds) for name, lane in self._lanes.items() if name.has_connections)

    def take_fds(self, uid: int, fds: Iterable[int]) -> None:
        """Close them, sooner or later."""
        for fd in fds:
            self._put(_LaneName(uid, False), fd)

    def take_connection(self, uid: int, fd: int) -> None:
        """Drop what is left on a connection, and close it, sooner or later."""
        names = (_LaneName(uid, True, number) for number in range(MAX_CONNECTION_LANES))
        self._put(next(filter(self._has_room, names), _LaneName(uid, True, fd % MAX_CONNECTION_LANES)), fd)

    def _has_room(self, name: _LaneName) -> bool:
        lane = self._lanes.get(name)
        return lane is None or len(lane.fds) < MAX_PENDING_FOR_USER

    def interrupt(self) -> None:
        """Hurry the closes that take long, where it can be done; for now and then."""
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
                lane = self._lanes[name] = _Lane(thread)
                lane.began_at = time.monotonic()
                lane.fds.append(fd)
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
                # Whose connections hang by the dozen, does not get the courtesy to read its last replies: to drop
                # packet by packet takes an interrupt for each.
                is_polite = name.has_connections and len(lane.fds) < MAX_PENDING_FOR_USER
                close = self._drop if is_polite else self._close
            try:
                close(fd)
            except OSError:
                pass  # what flush reports is the client's own affair
            finally:
                with self._lock:
                    lane.fds.popleft()


def _try_start(lane: _Lane) -> None:
    """Start the thread of a lane; when the process can have no more threads, `interrupt` tries again."""
    with contextlib.suppress(RuntimeError):
        lane.thread.start()


def _interrupt(lane: _Lane) -> None:
    """Interrupt the thread of a lane; the lock is held, so it is alive, if it could be started."""
    if lane.thread.ident is not None:
        signal.pthread_kill(lane.thread.ident, INTERRUPT)
