"""A thread for work that can take long, and that the main thread must not wait for."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def call_with_limit(function: Callable[[], T], limit_s: float) -> T:
    """Call a function in a thread of its own. Return its result, or raise its exception.

    Raises:
        TimeoutError: it has not returned after so many seconds, and goes on.
        OSError: there is no room for a thread.
    """
    results: list[T] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            results.append(function())
        except Exception as error:
            errors.append(error)

    background = Background("wait", run)
    background.start()
    if not background.wait(limit_s):
        raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
    if errors:
        raise errors[0]
    if not results:
        raise OSError(errno.EAGAIN, "there is no room for a thread")
    return results[0]


class Background:
    """Runs a function in a thread of its own, and never twice at the same time."""

    def __init__(self, name: str, function: Callable[[], None]) -> None:
        """Take the name of the thread, and the function."""
        self._name = name
        self._function = function
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, unless it is still running. Without room for a thread, the next start tries again."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            with contextlib.suppress(RuntimeError):
                self._thread.start()

    def wait(self, limit_s: float | None = None) -> bool:
        """Wait until the function has returned. Return False if it has not, after so many seconds."""
        if self._thread is not None and self._thread.is_alive():
            self._thread.join(limit_s)
            return not self._thread.is_alive()
        return True

    def _run(self) -> None:
        # The main thread handles signals.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        self._function()
