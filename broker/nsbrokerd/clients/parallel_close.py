"""Closes several files at the same time, each in a thread, because the last close of some waits.

The last close of a packet socket waits 8 to 16 ms for the kernel (synchronize_rcu). One after the other, a person could
send more of them than its porter closes. Files that are closed at the same time wait together.
"""

from __future__ import annotations

import _thread
import signal
from _queue import Empty, SimpleQueue
from collections.abc import Callable, Sequence

MAX_THREADS = 32

_LONGEST_PAUSE_S = 1.0


class ParallelClose:
    """Threads that close files. They are started at need, and wait for more then."""

    def __init__(self) -> None:
        self._work: SimpleQueue[tuple[Callable[[int], None], int]] = SimpleQueue()
        self._done: SimpleQueue[int] = SimpleQueue()
        self._threads: list[int] = []

    def close(self, fds: Sequence[int], close: Callable[[int], None], interrupt_after_s: float) -> None:
        """Close all of these. It returns when the last one is closed.

        Args:
            fds: descriptors, which belong to this call.
            close: closes one. It must not raise.
            interrupt_after_s: a close that waits for so long (SO_LINGER) gets SIGALRM, for which there must be a
                handler. Some wait for something else. They get it again, less and less often.
        """
        self._start(min(MAX_THREADS, len(fds)))
        if not self._threads:  # the kernel gives this process no thread
            for fd in fds:
                close(fd)
            return
        for fd in fds:
            self._work.put((close, fd))
        missing, pause_s = len(fds), interrupt_after_s
        while missing:
            try:
                self._done.get(timeout=pause_s)
            except Empty:
                for thread in self._threads:
                    signal.pthread_kill(thread, signal.SIGALRM)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                missing -= 1
                pause_s = interrupt_after_s

    def _start(self, wanted: int) -> None:
        while len(self._threads) < wanted:
            try:
                self._threads.append(_thread.start_new_thread(self._run, ()))
            except RuntimeError:
                return

    def _run(self) -> None:
        while True:
            close, fd = self._work.get()
            close(fd)
            self._done.put(fd)
