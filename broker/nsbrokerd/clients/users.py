"""What each user takes up at the moment: connections, requests, and requests that wait."""

from __future__ import annotations

from ..config import Limits

MAX_WAITING_FOR_USER = 2
"""Requests of one user that wait for a namespace: they hold a task each."""

MAX_LISTING_FOR_USER = 8
"""Lists of namespaces for one user that are made at the same time: likewise."""

_TOLD_EACH_S = 1.0
"""Seconds from one record about requests past the rate to the next."""

_BURST_S = 1.0
"""Seconds of its rate that a user may use up at once."""


class User:
    """One user's share. `allowance` is the number of requests that it may make right now."""

    __slots__ = ("allowance", "clients", "excess_told_at", "listing", "refilled_at", "uid", "untold_excess", "waiting")

    def __init__(self, uid: int, now: float, rate: int) -> None:
        self.uid = uid
        self.clients = 0
        self.waiting = 0
        self.listing = 0
        self.allowance = rate * _BURST_S
        self.refilled_at = now
        self.excess_told_at = float("-inf")
        self.untold_excess = 0

    def take_request(self, now: float, rate: int) -> bool:
        """Count one request; False when the user made more than `rate` in a second."""
        self.allowance = min(rate * _BURST_S, self.allowance + (now - self.refilled_at) * rate)
        self.refilled_at = now
        if self.allowance < 1:
            return False
        self.allowance -= 1
        return True

    def count_excess(self, now: float) -> int | None:
        """Count a request past the rate; gives how many went untold since the last one, or None when this one does."""
        if now - self.excess_told_at < _TOLD_EACH_S:
            self.untold_excess += 1
            return None
        untold, self.untold_excess, self.excess_told_at = self.untold_excess, 0, now
        return untold


class Users:
    """All users that are connected, or were a moment ago: leaving does not refill an allowance.

    `clients` are the connections of all, `connected` the users that have any.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.clients = 0
        self.connected = 0
        self._by_uid: dict[int, User] = {}

    def admit(self, uid: int, now: float) -> User | None:
        """Count one more connection of a user; None when it has too many."""
        user = self._by_uid.get(uid)
        if user is None:
            user = self._by_uid[uid] = User(uid, now, self.limits.requests_per_second)
        if user.clients >= self.limits.clients_per_user:
            return None
        self.connected += user.clients == 0
        user.clients += 1
        self.clients += 1
        return user

    def leave(self, user: User) -> None:
        """Count one connection less."""
        user.clients -= 1
        self.clients -= 1
        self.connected -= user.clients == 0

    def forget_idle(self, now: float) -> None:
        """Drop what is kept of users without connections, once their allowance would be full again."""
        idle = [uid for uid, user in self._by_uid.items() if not user.clients and now - user.refilled_at > 2 * _BURST_S]
        for uid in idle:
            del self._by_uid[uid]
