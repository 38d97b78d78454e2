"""The order of turns: a person that has used less of the broker's time comes first. Pure.

This is fair queueing by a virtual time, as of processes in Linux (CFS). Each turn costs its person the time that it
took. A person that comes, or comes back, starts at the present virtual time. So it can't save up time while it asks for
nothing, and it never has to make up for the time that others used before. Of many persons that come at once, each has
at most one turn before a person that is there already.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import Protocol, TypeVar


class Account(Protocol):
    """Takes part in turns. `used_s` is its place on the virtual clock, in seconds. It starts at 0."""

    used_s: float


class HasAccount(Protocol):
    """Gets turns, at the cost of an account."""

    @property
    def account(self) -> Account:
        """Return the account that its turns cost."""


H = TypeVar("H", bound=HasAccount)


class Turns:
    """The virtual clock, and the choice of the one that comes next.

    Attributes:
        now_s: the virtual time. It is where the account of the last turn was when that turn began.
    """

    __slots__ = ("now_s",)

    def __init__(self) -> None:
        self.now_s = 0.0

    def first(self, ready: Iterable[H]) -> H:
        """Return the candidate whose account has used the least, and of equal ones the first."""
        return min(ready, key=_used)

    def charge(self, account: Account, took_s: float) -> None:
        """Count the time of a turn. An account that was away before it started at the present virtual time."""
        used = account.used_s
        if used < self.now_s:
            used = self.now_s
        else:
            self.now_s = used
        account.used_s = used + took_s


_used = attrgetter("account.used_s")
