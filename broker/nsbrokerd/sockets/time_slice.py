"""Cuts long work into pieces, so that other persons are served in between.

Work that can be cut is a generator of `Steps`. It yields between two pieces: None when its time is up, or an object
that says when the work can go on. At each yield the thread has its own ids, capabilities and namespace.

If the client is gone, `AbandonedError` is raised at a cut. Work that has its outcome already, and only tidies up, ends
by this outcome all the same.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from typing import Protocol, TypeVar

T = TypeVar("T")

SLICE_S = 0.00003
"""How long a piece of work may take while others wait. A round trip for one socket takes three times as long."""

MOST_S = 0.0001
"""How long a piece goes on at the most until it looks again whether others wait. A look takes two microseconds."""

SHARED_S = 0.01
"""After others had to wait for the end of a piece, pieces look for them more often for this long."""


class Awaited(Protocol):
    """Something that work waits for."""

    def when_done(self, callback: Callable[[], None]) -> None:
        """Have a function called once, now or later, in any thread. It must be short, and must not raise."""


Steps = Generator[Awaited | None, None, T]


class AbandonedError(Exception):
    """The client that the work was for is gone."""


class TimeSlice:
    """The time of the piece that runs now. Without `begin`, it has no end.

    A piece whose time is up goes on as long as nobody waits, so that large requests cost little more than without cuts.
    Each time that nobody waits, it looks again after twice the time, unless others have waited a moment ago.

    Attributes:
        is_awaited: returns whether others wait for the end of the piece.
    """

    __slots__ = ("_awaited_at", "_clock", "_ends_at", "_is_over", "_length_s", "is_awaited")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.is_awaited: Callable[[], bool] = _always
        self._clock = clock
        self._ends_at = math.inf
        self._length_s = SLICE_S
        self._is_over = False
        self._awaited_at = -math.inf

    def begin(self) -> None:
        """Begin a piece."""
        self._is_over = False
        self._length_s = SLICE_S
        self._ends_at = self._clock() + SLICE_S

    def is_over(self) -> bool:
        """Return whether the piece must end as soon as it can. Then this stays so until `begin`."""
        now = self._clock()
        if now < self._ends_at:
            return False
        if not self._is_over:
            self._is_over = self.is_awaited()
            if self._is_over:
                self._awaited_at = self._ends_at = now
            else:
                if now - self._awaited_at > SHARED_S:
                    self._length_s = min(2 * self._length_s, MOST_S)
                self._ends_at = now + self._length_s
        return self._is_over


def _always() -> bool:
    return True


def pace(work: Generator[None, None, T], time_slice: TimeSlice) -> Steps[T]:
    """Go on with work that yields often. Yield only if the time is up."""
    try:
        while True:
            try:
                next(work)
            except StopIteration as end:
                result: T = end.value
                return result
            if time_slice.is_over():
                yield None
    finally:
        work.close()


def until_abandoned(work: Steps[T], keep: Callable[[T], None]) -> Steps[T]:
    """Take all steps. If this is closed at a cut, abandon the work, and call `keep` with its outcome if it has one."""
    try:
        while True:
            try:
                awaited = next(work)
            except StopIteration as end:
                result: T = end.value
                return result
            yield awaited
    except GeneratorExit:
        try:
            while True:
                work.throw(AbandonedError())
        except StopIteration as end:
            keep(end.value)
        except AbandonedError:
            pass
        raise
    finally:
        work.close()
