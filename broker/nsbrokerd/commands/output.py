"""Output that several commands share: tables, names of users, and a text that is printed again every second."""

from __future__ import annotations

import contextlib
import os
import pwd
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache

_WATCH_S = 1.0
_CLEAR = "\x1b[H\x1b[J"
"""For a terminal: go to the upper left corner, and clear the screen from there."""


def print_text(make: Callable[[], str], *, watch: bool = False) -> None:
    """Print a text once, or every second until the user or the reader stops it."""
    is_terminal = watch and sys.stdout.isatty()
    with contextlib.suppress(KeyboardInterrupt):
        try:
            while True:
                print((_CLEAR if is_terminal else "") + make(), end="", flush=True)
                if not watch:
                    return
                time.sleep(_WATCH_S)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes it at the end


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], numbers: int = 0) -> str:
    """Return lines of columns. The first ones are numbers, at the right edge of their columns."""
    lines = [tuple(headings), *(tuple(map(printable, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ""
    for line in lines:
        cells = [
            cell.rjust(width) if at < numbers else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        text += "  ".join(cells).rstrip() + "\n"
    return text


def printable(text: str) -> str:
    """Replace all characters that could control a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, such as `1 socket` or `2 sockets`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@cache
def user_name(uid: int) -> str | None:
    """Return the name of a user, or None for a uid without a name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def user(uid: int | None) -> str:
    """Return the name of a user for people."""
    return "(others)" if uid is None else user_name(uid) or str(uid)
