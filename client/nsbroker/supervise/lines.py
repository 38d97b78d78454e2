"""The lines that a supervisor writes: each once, not too many, and some only if they still matter later."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_LINES = 64
"""No more different lines than this are written."""
PATIENCE_MS = 1000
"""How long a line is held back."""


class Lines:
    """Lines for the user, from any number of threads.

    Attributes:
        wake: readable when a line is held back. Read it by `sleep`, and call `release` after `PATIENCE_MS`.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._said: set[str] = set()
        self._held: list[str] = []
        self.wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def is_new(self, line: str) -> bool:
        """Return whether `say` would write this line."""
        return line not in self._said and len(self._said) < _MAX_LINES

    def say(self, line: str) -> None:
        """Write a line, unless it was written before."""
        if self.is_new(line):
            self._said.add(line)
            self._say(line)

    def hold_back(self, line: str) -> None:
        """Keep a line that may not matter. `release` writes it, and `drop_held` forgets it."""
        if self.is_new(line) and line not in self._held:
            self._held.append(line)
            os.eventfd_write(self.wake, 1)

    def has_held(self) -> bool:
        """Return whether there are lines to release."""
        return bool(self._held)

    def sleep(self) -> None:
        """Make `wake` unreadable until the next line is held back."""
        try:
            os.eventfd_read(self.wake)
        except BlockingIOError:
            return

    def release(self) -> None:
        """Write the lines that were held back."""
        while self._held:
            self.say(self._held.pop(0))

    def drop_held(self) -> None:
        """Forget the lines that were held back."""
        self._held.clear()
