"""Counts the outcomes of requests, by user, for the status. Its tables are bounded, whatever clients ask for."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from ..clients.client import Person
from ..clients.peer import Peer
from ..policy.plans import Refusal
from ..sockets.batch import Opened
from .handed_out import HandedOut

MOST_ROWS = 256
"""Rows of a table. Counts without a row of their own go to a row of their user, or else to one row for all."""

MOST_ROWS_OF_USER = 32

_COUNTED_AT_ONCE = 64
"""Answers. This takes less than 0.1 ms."""

Row = tuple[int | None, str | None, str | None]
"""A user, and two names. None stands for all others."""

_OTHERS: Row = (None, None, None)


class Table:
    """Numbers, by user and two names.

    Attributes:
        rows: the numbers.
    """

    def __init__(self) -> None:
        self.rows: dict[Row, int] = {}
        self._rows_of: Counter[int | None] = Counter()

    def add(self, uid: int, first: str, second: str) -> None:
        """Count one."""
        row: Row = (uid, first, second)
        if row not in self.rows:
            row = self._new(row)
        self.rows[row] = self.rows.get(row, 0) + 1

    def _new(self, row: Row) -> Row:
        """Return the row to count in, which this user has not had so far."""
        uid = row[0]
        of_user = self._rows_of[uid]
        if of_user >= MOST_ROWS_OF_USER or (of_user and len(self.rows) >= MOST_ROWS):
            return (uid, None, None)
        if len(self.rows) >= MOST_ROWS:
            del self._rows_of[uid]
            return _OTHERS
        self._rows_of[uid] += 1
        return row


class Tally:
    """What the broker has answered since its start.

    Answers are counted some at a time: one by one, counting would cost each request three times as much, since the
    processor's caches then have other data.

    Attributes:
        answered: by operation, the number of requests that were answered.
        refused: the number of requests that were refused.
        sockets: the sockets that were handed out, by user, grant and namespace.
        refusals: the refusals, by user, code and grant. The grant is "" if none allows the request.
        handed_out: the unlimited sockets.
    """

    def __init__(self) -> None:
        self.answered: defaultdict[str, int] = defaultdict(int)
        self.refused = 0
        self.sockets = Table()
        self.refusals = Table()
        self.handed_out = HandedOut()
        self._uncounted: list[tuple[Person, Peer, str, Sequence[Opened]]] = []

    def answer(self, person: Person, peer: Peer, operation: str, opened: Sequence[Opened]) -> None:
        """Take a request that was answered, and the sockets that it got."""
        self._uncounted.append((person, peer, operation, opened))
        if len(self._uncounted) >= _COUNTED_AT_ONCE or len(opened) > 1:
            self.count()

    def count(self) -> None:
        """Count the answers so far. Call this before you read the numbers, and each second."""
        rows = self.sockets.rows
        for person, peer, operation, opened in self._uncounted:
            self.answered[operation] += 1
            uid, subject_uid = person.uid, peer.subject.uid
            for planned, _, cookie, namespace, _ in opened:
                _, label, _, _, kind, grant, _, _ = planned
                name = grant.name
                try:
                    rows[uid, name, label] += 1
                except KeyError:
                    self.sockets.add(uid, name, label)
                if grant.limit is None:
                    self.handed_out.add(uid, subject_uid, cookie, name, label, namespace.cookie, kind)
        self._uncounted.clear()
        self.handed_out.look_at_clock()

    def refuse(self, person: Person, refusal: Refusal) -> None:
        """Count a request that was refused."""
        self.refused += 1
        self.refusals.add(person.uid, refusal.code, refusal.grant or "")
