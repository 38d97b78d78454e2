"""The one thread that makes sealed sockets, and does nothing else: its control group seals them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import TypeVar

from ..namespaces.netns import Gate

T = TypeVar("T")


class Worker:
    """Calls functions in its thread, one at a time, while the caller waits: they are as short as in the main thread."""

    def __init__(self) -> None:
        """Start the thread.

        Raises:
            OSError: /proc is not mounted.
        """
        self._job: Callable[[], None] | None = None
        self._asked, self._done = os.eventfd(0, os.EFD_CLOEXEC), os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="seal", daemon=True)
        self._thread.start()
        self.gate = self.call(Gate)
        self.thread_id = self.call(threading.get_native_id)

    def call(self, function: Callable[[], T]) -> T:
        """Call a function in the thread, and wait for it; what it raises is raised here."""
        results: list[T] = []
        errors: list[BaseException] = []

        def job() -> None:
            try:
                results.append(function())
            except BaseException as error:
                errors.append(error)

        self._job = job
        os.eventfd_write(self._asked, 1)
        _wait(self._done)
        if errors:
            raise errors[0]
        return results[0]

    def stop(self) -> None:
        """End the thread; nothing can be called any more."""
        self._job = None
        os.eventfd_write(self._asked, 1)
        self._thread.join()
        for fd in (self._asked, self._done, self.gate.home_fd):
            os.close(fd)

    def _run(self) -> None:
        # Signals are the main thread's matter.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while True:
            _wait(self._asked)
            if self._job is None:
                return
            self._job()
            os.eventfd_write(self._done, 1)


def _wait(event: int) -> None:
    # Not os.eventfd_read, which a signal ends with an error.
    os.read(event, 8)
