"""Makes all sealed sockets in their control group: in a thread that has no other work, or by visits to the group."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import TypeVar

from ..namespaces.netns import Gate
from .cgroup import SealedGroup

T = TypeVar("T")


class SealedThread:
    """Calls functions in its thread, one at a time, while the caller waits. A function must be short."""

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
        """Call a function in the thread. Return its result, or raise its exception."""
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
        """End the thread. After that, `call` must not be used."""
        self._job = None
        os.eventfd_write(self._asked, 1)
        self._thread.join()
        for fd in (self._asked, self._done, self.gate.home_fd):
            os.close(fd)

    def _run(self) -> None:
        # The main thread handles signals.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while True:
            _wait(self._asked)
            if self._job is None:
                return
            self._job()
            os.eventfd_write(self._done, 1)


class SealedVisits:
    """Calls functions in the calling thread, while the whole process is in the control group: see `SealedGroup`."""

    def __init__(self, group: SealedGroup) -> None:
        """Visit a group that is not threaded.

        Raises:
            OSError: /proc is not mounted.
        """
        self._group = group
        self.gate = Gate()

    def call(self, function: Callable[[], T]) -> T:
        """Call a function in the group. Return its result, or raise its exception.

        Raises:
            OSError: the kernel refuses the visit.
        """
        return self._group.visit(function)

    def stop(self) -> None:
        """Release the gate. After that, `call` must not be used."""
        os.close(self.gate.home_fd)


def _wait(event: int) -> None:
    # A signal would end os.eventfd_read with an error.
    os.read(event, 8)
