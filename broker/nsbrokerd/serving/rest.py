"""Lets the listener rest for a moment, while the hub goes on with the connected clients.

A thread ends the rest, because epoll_wait(2) and trio can't wait for less than a millisecond.
"""

from __future__ import annotations

import contextlib
import select
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue


class Rest:
    """Switches the events of one descriptor off in an epoll, and on again after a time.

    The descriptor stays registered: another process might take the watch that registering it again needs (epoll(7)).

    Attributes:
        is_on: whether the descriptor rests now.
    """

    def __init__(self, epoll: select.epoll, fd: int, sleep: Callable[[float], object] = time.sleep) -> None:
        self.is_on = False
        self._sleep = sleep
        self._epoll = epoll
        self._fd = fd
        self._times_s: SimpleQueue[float | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def begin(self, time_s: float) -> None:
        """Rest for so many seconds. Without a thread, which the process may not have left, there is no rest."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="rest", daemon=True)
            with contextlib.suppress(RuntimeError):
                thread.start()
                self._thread = thread
        if self._thread is not None and not self.is_on:
            self._epoll.modify(self._fd, 0)
            self.is_on = True
            self._times_s.put(time_s)

    def end(self) -> None:
        """End the thread. The descriptor can be unregistered then."""
        if self._thread is not None:
            self._times_s.put(None)
            self._thread.join()

    def _run(self) -> None:
        while (time_s := self._times_s.get()) is not None:
            self._sleep(time_s)
            self.is_on = False
            self._epoll.modify(self._fd, select.EPOLLIN)
