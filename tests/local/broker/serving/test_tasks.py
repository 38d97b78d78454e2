"""Requests that have tasks of their own: each user has a few, and they end with their client or their nursery."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import trio

from nsbroker.wire import OVERLOADED, NamespacesRequest
from nsbrokerd.clients.peer import Peer
from nsbrokerd.clients.users import MAX_LISTING_FOR_USER, User
from nsbrokerd.policy import Subject
from nsbrokerd.policy.plans import Refusal
from nsbrokerd.serving.tasks import SlowRequests


class FakeDelivery:
    """Keeps what it should deliver."""

    def __init__(self) -> None:
        self.delivered: list[tuple[int, Refusal]] = []

    def deliver(self, client: Any, _request: object, outcome: Refusal) -> None:
        self.delivered.append((client.user.uid, outcome))


class EndlessHandler:
    """Makes lists that take for ever."""

    def list_namespaces(self, _peer: Peer, _request_id: int) -> Iterator[int | None]:
        while True:
            yield None


def fake_client(user: User) -> Any:
    return SimpleNamespace(user=user, peer=Peer(Subject(user.uid, frozenset()), 1, 1), is_closed=False)


def test_lists_of_one_user_are_bounded() -> None:
    """Over all of its connections; another user still has its list made."""
    delivery = FakeDelivery()
    slow = SlowRequests(EndlessHandler(), delivery)  # type: ignore[arg-type]  # fakes
    greedy, other = User(1000, 0, 1), User(1001, 0, 1)

    async def ask() -> None:
        async with trio.open_nursery() as nursery:
            slow.run_in(nursery)
            for number in range(MAX_LISTING_FOR_USER + 2):
                slow.start(fake_client(greedy), NamespacesRequest(number), [])
            slow.start(fake_client(other), NamespacesRequest(1), [])
            assert slow.running == MAX_LISTING_FOR_USER + 1
            nursery.cancel_scope.cancel()

    before = os.listdir("/proc/self/fd")
    trio.run(ask)
    assert [(uid, refusal.code) for uid, refusal in delivery.delivered[:2]] == [(1000, OVERLOADED)] * 2
    assert "lists for uid 1000" in delivery.delivered[0][1].message
    assert (slow.running, greedy.listing, other.listing) == (0, 0, 0)
    assert os.listdir("/proc/self/fd") == before
