"""Closes descriptors that a client sent and that are no namespaces: elsewhere, since that can hang for ever.

close(2) calls flush, and on a file of the client's own FUSE file system this is answered when the client likes to.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from queue import SimpleQueue

MAX_PENDING_FOR_USER = 16
"""From here on, descriptors of that user are dropped without being received."""


class Closer:
    """One thread that closes, and does nothing else. It is started when it is needed first."""

    def __init__(self, close: Callable[[int], None] = os.close) -> None:
        self._close = close
        self._queue: SimpleQueue[tuple[int, int]] = SimpleQueue()
        self._pending: Counter[int] = Counter()
        self._lock = threading.Lock()
        self._started = False

    def is_full(self, uid: int) -> bool:
        """Tell whether too many descriptors of this user wait to be closed already."""
        return self._pending[uid] >= MAX_PENDING_FOR_USER if self._pending else False

    def take_fds(self, uid: int, fds: Iterable[int]) -> None:
        """Close them, sooner or later."""
        for fd in fds:
            with self._lock:
                self._pending[uid] += 1
            self._queue.put((uid, fd))
        if not self._started and not self._queue.empty():
            self._started = True
            threading.Thread(target=self._run, name="closer", daemon=True).start()

    def _run(self) -> None:
        while True:
            uid, fd = self._queue.get()
            try:
                self._close(fd)
            except OSError:
                pass  # what flush reports is the client's own affair
            finally:
                with self._lock:
                    self._pending[uid] -= 1
                    if not self._pending[uid]:
                        del self._pending[uid]
