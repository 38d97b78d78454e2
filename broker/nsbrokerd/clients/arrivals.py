"""New connections: the quota of each person, and the few answers and log lines for the connections past it.

The broker knows the user of a connection only after it has accepted it, and the kernel's queue is first come, first
served. So a connection past the quota must cost the broker next to nothing: it gets no answer, no line and no thread.
"""

from __future__ import annotations

from collections import Counter

import structlog

BURST = 2048
"""New connections that a person may open at once: twice the default of `clients_per_user`."""

PER_SECOND = 1000
"""New connections of a person in a second. They cost the broker a twentieth of its time."""

ANSWERED = 10
"""Connections of a person past the quota that still get an answer in a second."""

NAMED = 16
"""Persons with a number of their own in the log. Further persons share one number."""

log = structlog.get_logger()


class Arrivals:
    """How many new connections a person may open right now. A full bucket of tokens, which time refills."""

    __slots__ = ("_answered", "_answered_since", "_refilled_at", "_tokens")

    def __init__(self, now: float) -> None:
        self._tokens = float(BURST)
        self._refilled_at = now
        self._answered = 0
        self._answered_since = now

    def take(self, now: float) -> bool:
        """Count a new connection, and return False if it is one too many."""
        self._tokens = min(BURST, self._tokens + (now - self._refilled_at) * PER_SECOND)
        self._refilled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def take_answer(self, now: float) -> bool:
        """Return whether a connection past the quota gets an answer. The first ones of each second do."""
        if now - self._answered_since >= 1:
            self._answered, self._answered_since = 0, now
        self._answered += 1
        return self._answered <= ANSWERED

    def are_forgettable(self, now: float) -> bool:
        """Return whether the bucket is full again, so that nothing is lost with it."""
        return self._tokens + (now - self._refilled_at) * PER_SECOND >= BURST


class TurnedAway:
    """Counts the connections that were turned away, by reason and user, for the log."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, int | None]] = Counter()

    def count(self, event: str, uid: int) -> None:
        """Count one connection."""
        key: tuple[str, int | None] = (event, uid)
        if key not in self._counts and len(self._counts) >= NAMED:
            key = event, None
        self._counts[key] += 1

    def report(self) -> bool:
        """Log the numbers since the last call, and return whether there are any. Call this each second."""
        counts, self._counts = self._counts, Counter()
        for (event, uid), number in counts.items():
            about = {} if uid is None else {"uid": uid}
            log.warning(event, more=number, **about)
        return bool(counts)
