"""One line for each step: done, done before, or failed."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EROFS: "make the file system writable",
    errno.EACCES: "become root",
    errno.EPERM: "become root",
}


class StepError(Exception):
    """A step can't be done. The message names the reason and the remedy."""


class Report:
    """Prints each step at once. A step that fails does not keep the others from being done."""

    def __init__(self, print_line: Callable[[str], object] = print) -> None:
        self._print_line = print_line
        self.has_failed = False
        self.has_changed = False

    def changed(self, word: str, what: object, how: str = "") -> None:
        """Report a step that was done just now."""
        self.has_changed = True
        self._say(word, what, how)

    def unchanged(self, word: str, what: object, how: str = "") -> None:
        """Report a step that was done before, or that this host does not need."""
        self._say(word, what, how)

    def failed(self, what: object, reason: str) -> None:
        """Report a step that could not be done."""
        self.has_failed = True
        self._say("failed", what, reason)

    @contextmanager
    def step(self, what: object) -> Iterator[None]:
        """Report an OSError or a StepError of the body as a failure of this step."""
        try:
            yield
        except StepError as error:
            self.failed(what, str(error))
        except OSError as error:
            self.failed(what, describe(error))

    def _say(self, word: str, what: object, how: str) -> None:
        text = f"{word:9} {what}" + (f": {how}" if how else "")
        self._print_line("".join(char if char.isprintable() else "?" for char in text))


def describe(error: OSError) -> str:
    """Return the reason and the remedy."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    remedy = _REMEDIES.get(error.errno or 0)
    return f"{reason}: {remedy or 'correct this'}, then run this command again"
