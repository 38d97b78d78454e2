"""Pools: amounts of the broker that all persons share, for example waiting requests.

Persons that no grant names get at most half of a pool together, however many uids they have.
"""

from __future__ import annotations

from collections import Counter

from .client import Person


class Pool:
    """An amount of something, and the persons that have taken parts of it.

    Attributes:
        most: the whole amount.
        taken: the sum of all parts.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0
        self._parts: Counter[Person] = Counter()

    def take(self, person: Person, amount: int = 1) -> bool:
        """Take a part for a person, or return False if too little is left for it."""
        taken = self.taken + amount
        if taken > self.most:
            return False
        # Names change with a reload, so add up the parts each time. This is only needed once half is taken.
        if not person.is_named and taken > self.most // 2:
            unnamed = sum(part for one, part in self._parts.items() if not one.is_named)
            if unnamed + amount > self.most // 2:
                return False
        self.taken = taken
        self._parts[person] += amount
        return True

    def give_back(self, person: Person, amount: int = 1) -> None:
        """Return a part that was taken."""
        self.taken -= amount
        self._parts[person] -= amount
        if not self._parts[person]:
            del self._parts[person]
