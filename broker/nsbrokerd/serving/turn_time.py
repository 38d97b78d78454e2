"""Measures the time of a turn, without the time that other processes had on its processor.

A busy machine can take the processor away from the broker for milliseconds. A user whose turn that hits must not pay
for it. But time that the broker sleeps in a system call counts, because others wait meanwhile.
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from typing import NamedTuple

LONG_S = 0.0005
"""A shorter turn was hardly interrupted. So a usual turn costs no call of getrusage(2)."""


class Usage(NamedTuple):
    """The processor time of this thread, and how often it was taken off its processor against its will."""

    processor_s: float
    interruptions: int


def read_usage() -> Usage:
    """Return the usage of the calling thread so far. Source: getrusage(2)."""
    usage = resource.getrusage(resource.RUSAGE_THREAD)
    return Usage(usage.ru_utime + usage.ru_stime, usage.ru_nivcsw)


class TurnTime:
    """Corrects the times of turns."""

    def __init__(self, usage: Callable[[], Usage] = read_usage) -> None:
        self._usage = usage
        self._last = usage()

    def correct(self, took: float) -> float:
        """Return the seconds that count of those that a turn has taken."""
        if took < LONG_S:
            return took
        last, self._last = self._last, self._usage()
        if self._last.interruptions == last.interruptions:
            return took
        return min(took, self._last.processor_s - last.processor_s)

    def look(self) -> None:
        """Start anew between two turns. Otherwise the next long turn seems to have used all the time before it."""
        self._last = self._usage()
