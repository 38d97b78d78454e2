"""Reads a file of the user's own, which a variable of the environment names."""

from __future__ import annotations

import os
import stat

_MOST_CHARACTERS = 2**20


def read_own_file(path: str) -> str:
    """Return the text of a regular file: at most its first 2**20 characters. Return "" if it can't be read.

    Other files are not read, since a pipe would block the program, and /dev/zero has no end.
    """
    try:
        with open(
            os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), encoding="utf-8", errors="replace"
        ) as file:
            return file.read(_MOST_CHARACTERS) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else ""
    except (OSError, ValueError):
        return ""
