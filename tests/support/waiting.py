"""Numbers that processes share, and waiting for a condition, so that the phases of a test need not sleep."""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable

LIMIT_S = 120
"""Generous, because it only ends a test that hangs."""

_LOOK_AGAIN_S = 0.001


class Counters:
    """Numbers in memory that forked children share. Only one process writes each."""

    def __init__(self, count: int) -> None:
        self._numbers = memoryview(mmap.mmap(-1, 8 * count)).cast("q")

    def __getitem__(self, index: int) -> int:
        return self._numbers[index]

    def __setitem__(self, index: int, value: int) -> None:
        self._numbers[index] = value

    def sum(self) -> int:
        return sum(self._numbers)


def wait_until(condition: Callable[[], bool], limit_s: float = LIMIT_S) -> None:
    """Wait for a condition, or raise AssertionError if it does not come true in time."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"{condition} did not come true in {limit_s} s"
        time.sleep(_LOOK_AGAIN_S)
