"""Bounds the lines that clients can cause in the log. Further ones are counted, and the log gets their number."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import structlog
from structlog.typing import EventDict, WrappedLogger

MOST_FOR_USER = 5
MOST_FOR_ALL = 50
"""Lines in a second."""

MOST_COUNTS = 16
"""Events and users with a number of their own. Further users share one number for each event."""

ABOUT_NO_CLIENT = "about_no_client"
"""Bind this to a logger whose lines no client can cause. They are all kept."""

log = structlog.get_logger(**{ABOUT_NO_CLIENT: True})


class LineQuota:
    """A processor of structlog that drops the lines beyond the quota."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = float("-inf")
        self._kept = 0
        self._kept_of_user: Counter[int | None] = Counter()
        self._left_out: Counter[tuple[str, str, int | None]] = Counter()

    def __call__(self, _logger: WrappedLogger, level: str, line: EventDict) -> EventDict:
        """Return the line.

        Raises:
            DropEvent: it is one too many.
        """
        if line.pop(ABOUT_NO_CLIENT, False):
            return line
        now = self._clock()
        if now - self._since >= 1:
            self._since, self._kept, self._kept_of_user = now, 0, Counter()
        uid = line.get("uid")
        if self._kept >= MOST_FOR_ALL or self._kept_of_user[uid] >= MOST_FOR_USER:
            self._count((level, line["event"], uid), line.get("more", 1))
            raise structlog.DropEvent
        self._kept += 1
        self._kept_of_user[uid] += 1
        return line

    def _count(self, key: tuple[str, str, int | None], number: int) -> None:
        if key not in self._left_out and len(self._left_out) >= MOST_COUNTS:
            key = *key[:2], None
        self._left_out[key] += number

    def report(self) -> None:
        """Log the numbers of the lines that were dropped since the last call."""
        left_out, self._left_out = self._left_out, Counter()
        for (level, event, uid), number in left_out.items():
            about = {} if uid is None else {"uid": uid}
            getattr(log, level)(event, more=number, **about)
