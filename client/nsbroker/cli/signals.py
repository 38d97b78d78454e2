"""Signals that a waiting loop takes as they come: bytes in a pipe, which poll(2) waits for."""

from __future__ import annotations

import os
import signal

_READ_BYTES = 4096


class TakenSignals:
    """These signals, and SIGCHLD, do nothing by themselves from now on. One that is ignored stays ignored.

    SIGPIPE is ignored, for a loop outlives who reads its errors.

    Attributes:
        reader: the descriptor to wait for.
    """

    def __init__(self, numbers: tuple[int, ...]) -> None:
        self.reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self._numbers = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
        self._numbers.append(signal.SIGCHLD)
        for number in self._numbers:
            signal.signal(number, _leave_it_to_the_pipe)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        # Whoever started us may have had it blocked.
        self._mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])

    def take(self) -> list[int]:
        """Give the numbers of those that came."""
        try:
            return list(os.read(self.reader, _READ_BYTES))
        except BlockingIOError:
            return []

    def fork(self) -> int:
        """Fork; the child gets signals as if they had never been taken.

        Raises:
            OSError: as fork(2).
        """
        # Blocked: what reaches the child before it has its own handlers back would be told to the parent's pipe.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, self._numbers)
        try:
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                for number in (*self._numbers, signal.SIGPIPE):
                    signal.signal(number, signal.SIG_DFL)
                before = self._mask
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return pid


def _leave_it_to_the_pipe(*_: object) -> None:
    """Be there: without a handler of Python's, nothing is written to the pipe."""
