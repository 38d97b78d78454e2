"""All persons that use the broker, and the number of their connections.

A person is a user with all uids that are delegated to it. Persons that no grant names get at most half of the
connections and of their descriptors together, so a person that a grant names always finds room.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from ..policy.naming import Naming
from .client import BURST_S, Person
from .quotas import Quotas


class Owners(Protocol):
    """Tells which uids are one person."""

    def refresh(self, now: float) -> bool:
        """Read the delegated ids again if their files have changed, and return whether they have."""

    def person_of(self, uid: int) -> int:
        """Return the uid that stands for the person."""

    def persons_named(self, uids: Iterable[int], gids: Iterable[int]) -> frozenset[int]:
        """Return the persons that have one of these uids, or that one of these gids is delegated to."""


class Persons:
    """All persons that have connections, or had one a moment ago: reconnecting does not refill an allowance.

    Attributes:
        quotas: the bounds that hold now.
        most_descriptors: descriptors for all connections. Each client takes two of them, and each person one.
        clients: the number of connections of all persons.
        connected: the number of persons that have a connection.
    """

    def __init__(self, quotas: Quotas, owners: Owners | None = None, naming: Naming | None = None) -> None:
        """Count persons. Without `owners`, each uid is a person. Without `naming`, all of them are named."""
        self.quotas = quotas
        self.most_descriptors = 2**31
        self.clients = 0
        self.connected = 0
        self._owners = owners
        self._naming = naming
        self._named: frozenset[int] = frozenset()
        self._by_uid: dict[int, Person] = {}
        self._unnamed_clients = 0
        self._unnamed_connected = 0
        self._name()

    def use_naming(self, naming: Naming) -> None:
        """Note which persons a new policy names."""
        self._naming = naming
        self._name()

    def of(self, uid: int, now: float) -> Person:
        """Return the person that a uid belongs to."""
        key = self._person_of(uid)
        person = self._by_uid.get(key)
        if person is None and self._refresh(now):
            key = self._person_of(uid)
            person = self._by_uid.get(key)
        if person is None:
            person = self._by_uid[key] = Person(key, now, self.quotas.requests_per_second)
            person.is_named = self._is_named(person)
        return person

    def admit(self, uid: int, now: float, groups: frozenset[int] = frozenset()) -> Person | None:
        """Count one more connection of a uid, or return None if its person, or all unnamed persons, have too many.

        Args:
            uid: the uid of the client.
            now: the time, on the clock of time.monotonic().
            groups: all groups of the client. A grant for one of them names its person.
        """
        person = self.of(uid, now)
        if person.clients + person.closing >= self.quotas.clients_per_user:
            return None
        if self._naming is not None:
            person.groups = groups
            if not person.is_named and self._is_named(person):
                self._set_named(person, is_named=True)
            if not person.is_named and not self._has_room_for_unnamed():
                return None
        self._count(person, 1)
        return person

    def leave(self, person: Person) -> None:
        """Count one connection less."""
        self._count(person, -1)

    def largest(self, measure: Callable[[Person], int]) -> tuple[int, int | None]:
        """Return the largest number that any person has, and the uid of that person. Without persons, it is 0."""
        return max(((measure(one), one.uid) for one in self._by_uid.values()), default=(0, None))

    def forget_idle(self, now: float) -> None:
        """Forget persons without connections once their allowances would be full again. Call this each second."""
        idle = [
            uid
            for uid, person in self._by_uid.items()
            if not (person.clients or person.closing)
            and now - person.refilled_at > 2 * BURST_S
            and person.arrivals.are_forgettable(now)
        ]
        for uid in idle:
            del self._by_uid[uid]
        self._refresh(now)

    def _person_of(self, uid: int) -> int:
        return uid if self._owners is None else self._owners.person_of(uid)

    def _refresh(self, now: float) -> bool:
        """Notice new delegations. Clients that are connected stay with the person that they came as."""
        has_changed = self._owners is not None and self._owners.refresh(now)
        if has_changed:
            self._name()
        return has_changed

    def _name(self) -> None:
        """Find out which persons the policy names."""
        if self._naming is not None and self._owners is not None:
            self._named = self._owners.persons_named(*self._naming)
        elif self._naming is not None:
            self._named = self._naming.users
        for person in self._by_uid.values():
            self._set_named(person, is_named=self._is_named(person))

    def _is_named(self, person: Person) -> bool:
        """Return whether a grant names a person, by one of its ids or by a group of its last client."""
        naming = self._naming
        return naming is None or person.uid in self._named or not naming.groups.isdisjoint(person.groups)

    def _set_named(self, person: Person, *, is_named: bool) -> None:
        if person.is_named != is_named:
            clients, connected = person.clients, bool(person.clients)
            person.is_named = is_named
            self._unnamed_clients += -clients if is_named else clients
            self._unnamed_connected += -connected if is_named else connected

    def _has_room_for_unnamed(self) -> bool:
        most = max(1, self.quotas.clients // 2)
        held = 2 * self._unnamed_clients + self._unnamed_connected
        return self._unnamed_clients < most and held + 3 <= max(3, self.most_descriptors // 2)

    def _count(self, person: Person, change: int) -> None:
        was_connected = bool(person.clients)
        person.clients += change
        connected = bool(person.clients) - was_connected
        self.clients += change
        self.connected += connected
        if not person.is_named:
            self._unnamed_clients += change
            self._unnamed_connected += connected
