"""How nsbroker-get fails: one line on standard error, and a status as env(1) has it."""

from __future__ import annotations

import os

REFUSED = 1
"""The broker refuses, or a connection fails."""
SETUP_FAILED = 125
"""nsbroker-get itself: wrong usage, no broker."""
CANNOT_EXECUTE = 126
NOT_FOUND = 127
INTERRUPTED = 130

_STDERR = 2


class FailureError(Exception):
    """Ends nsbroker-get with a line and a status."""

    def __init__(self, message: str, status: int = SETUP_FAILED) -> None:
        super().__init__(message)
        self.status = status


def usage_error(message: str) -> FailureError:
    """Make the failure for arguments that can't be understood."""
    return FailureError(f"{message} (see nsbroker-get --help)")


def say(message: str, fd: int = _STDERR) -> None:
    """Write one line, whatever is in the message: a terminal must not be told what to do by somebody's names."""
    line = "".join(char if char.isprintable() else repr(char)[1:-1] for char in message)
    try:
        os.write(fd, f"nsbroker-get: {line}\n".encode(errors="backslashreplace"))
    except OSError:
        return  # Nobody listens; the status tells.
