"""Text on standard output, past Python's own, which is missing when the descriptor was closed."""

from __future__ import annotations

import os

from .failure import FailureError

_STDOUT = 1


def print_text(text: str) -> None:
    """Write all of a text at once.

    Raises:
        FailureError: it can't be written.
    """
    data = memoryview(text.encode(errors="backslashreplace"))
    try:
        while data:
            data = data[os.write(_STDOUT, data) :]
    except OSError as error:
        raise FailureError(f"standard output: {error.strerror}") from error


def printable(text: str) -> str:
    """Give a text without what a terminal would take for an order: names may be somebody else's choice."""
    return "".join(char if char.isprintable() else "?" for char in text)
