"""Remembers the last sockets of grants without a limit, by their cookies, for `nsbrokerd sockets`.

The kernel knows the sockets of grants with a limit, since the seal has an entry for each. It has no mark on the others.
The broker keeps no descriptor of a socket, so it does not learn when one is closed: the command compares the cookies
with the kernel's lists.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import NamedTuple

MOST = 16384
"""Sockets of all persons. If there are more, a person with many loses its oldest one."""

MOST_OF_PERSON = 2048

_COMPARED = 64
"""So many persons are compared with the one that got the latest socket, to find the one that loses its oldest. With all
of them, it could take a millisecond."""

IN_PAGE = 256


class Entry(NamedTuple):
    """A socket that was handed out.

    Attributes:
        cookie: its SO_COOKIE.
        uid: the user that asked for it.
        grant: the name of the grant.
        namespace: the policy's name of its namespace.
        netns: the cookie of its namespace.
        kind: the policy's word for its kind.
        since: the time, in seconds since the epoch.
    """

    cookie: int
    uid: int
    grant: str
    namespace: str
    netns: int
    kind: str
    since: int


class HandedOut:
    """The last sockets, numbered from 1. This runs for each socket, so it keeps plain tuples."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._now = int(clock())
        self._of: dict[int, deque[tuple[int, int, int, str, str, int, str, int]]] = {}
        self._count = 0
        self._last = 0

    def look_at_clock(self) -> None:
        """Take the time for the next sockets. Call this each second."""
        self._now = int(self._clock())

    @property
    def forgotten(self) -> int:
        """How many sockets were handed out that are not among these any more."""
        return self._last - self._count

    def add(self, person: int, uid: int, cookie: int, grant: str, label: str, netns: int, kind: str) -> None:
        """Remember a socket of a person. The fields are those of an entry."""
        try:
            entries = self._of[person]
        except KeyError:
            entries = self._of[person] = deque(maxlen=MOST_OF_PERSON)
        if len(entries) < MOST_OF_PERSON:
            self._count += 1
        self._last = number = self._last + 1
        entries.append((number, cookie, uid, grant, label, netns, kind, self._now))
        if self._count > MOST:
            self._forget(person)

    def _forget(self, latest: int) -> None:
        """Forget the oldest socket of a person with many: of the latest one, or of one that has more."""
        person = max((latest, *islice(self._of, _COMPARED)), key=lambda one: len(self._of[one]))
        self._of[person].popleft()
        if not self._of[person]:
            del self._of[person]
        self._count -= 1

    def page(self, after: int) -> tuple[list[Entry], int]:
        """Return some sockets after the one with this number, and the number of the last of them."""
        page = sorted(one for entries in self._of.values() for one in entries if one[0] > after)[:IN_PAGE]
        return [Entry._make(one[1:]) for one in page], page[-1][0] if page else after
