"""Takes the steps of work that can be cut."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")


def finish(steps: Generator[object, None, T]) -> T:
    """Take all steps, and return the result."""
    return count_steps(steps)[1]


def count_steps(steps: Generator[object, None, T]) -> tuple[int, T]:
    """Take all steps, and return the number of cuts between them, and the result."""
    cuts = 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return cuts, end.value
        cuts += 1
