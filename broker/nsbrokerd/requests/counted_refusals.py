"""Refusals without an audit record of their own: counted for each user, and written a few users at a time. Pure."""

from __future__ import annotations

from typing import NamedTuple

from ..clients.client import Person
from ..clients.peer import Peer
from ..policy.plans import Refusal

MOST_RECORDS = 50
"""Records of counted refusals in a second, of all users together."""

MOST_USERS = 1024
"""Users that can wait for their record. Further ones share one."""


class Counted(NamedTuple):
    """Refusals without a record: their number, the last of them with its client, and whether several users had them."""

    number: int
    peer: Peer
    refusal: Refusal
    is_of_several: bool = False


class CountedRefusals:
    """Counts the refusals, and hands out the users that have waited longest first."""

    def __init__(self) -> None:
        self._of: dict[Person | None, Counted] = {}

    def count(self, person: Person, peer: Peer, refusal: Refusal) -> None:
        """Count one refusal."""
        is_one_more = person not in self._of and len(self._of) >= MOST_USERS
        key = None if is_one_more else person
        former = self._of.get(key)
        self._of[key] = Counted(1 + (former.number if former else 0), peer, refusal, is_one_more)

    def take(self, most: int) -> list[Counted]:
        """Return the refusals of at most this number of users, and forget them."""
        return [self._of.pop(key) for key in list(self._of)[:most]]
