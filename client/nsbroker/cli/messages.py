"""Text for the user: results on standard output, a failure as one line on standard error, and the exit statuses."""

from __future__ import annotations

import os

REFUSED = 1
"""The broker refused, or the connection failed."""
SETUP_FAILED = 125
"""nsbroker-get itself failed: wrong usage, or no broker."""
CANNOT_EXECUTE = 126
NOT_FOUND = 127
INTERRUPTED = 130

_STDOUT, _STDERR = 1, 2


class FailureError(Exception):
    """Ends nsbroker-get with this line and this exit status."""

    def __init__(self, message: str, status: int = SETUP_FAILED) -> None:
        super().__init__(message)
        self.status = status


def usage_error(message: str) -> FailureError:
    """Return the failure for wrong arguments. It points to --help."""
    return FailureError(f"{message} (see nsbroker-get --help)")


def say(message: str, fd: int = _STDERR) -> None:
    """Write one line. Unprintable characters are escaped, since names of other users must not control a terminal."""
    line = "".join(char if char.isprintable() else repr(char)[1:-1] for char in message)
    try:
        os.write(fd, f"nsbroker-get: {line}\n".encode(errors="backslashreplace"))
    except OSError:
        return  # No one can read it. The exit status remains.


def print_text(text: str) -> None:
    """Write a whole text to standard output. Python's own sys.stdout is missing when the descriptor was closed.

    Raises:
        FailureError: standard output can't be written.
    """
    data = memoryview(text.encode(errors="backslashreplace"))
    try:
        while data:
            data = data[os.write(_STDOUT, data) :]
    except OSError as error:
        raise FailureError(f"can't write to standard output: {error.strerror}") from error


def printable(text: str) -> str:
    """Return a text without control characters: other users may have chosen the names in it."""
    return "".join(char if char.isprintable() else "?" for char in text)
