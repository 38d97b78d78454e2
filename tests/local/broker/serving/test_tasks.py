"""Requests that have tasks of their own: each user has a few, and they end with their client or their nursery."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import trio
import trio.testing

from nsbroker.wire import DENIED, NO_SUCH_NAMESPACE, OVERLOADED, NamespacesRequest, OpenRequest, SocketSpec
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


class Handler:
    """Answers with one refusal after the other, the last one again and again; `asked` counts."""

    def __init__(self, *codes: str) -> None:
        self._codes = codes
        self.asked = 0

    def try_open(self, _peer: Peer, _request: OpenRequest, _fds: list[int]) -> Refusal:
        self.asked += 1
        return Refusal(self._codes[min(self.asked, len(self._codes)) - 1], "no")


def fake_client(user: User) -> Any:
    return SimpleNamespace(
        user=user,
        peer=Peer(Subject(user.uid, frozenset()), 1, 1),
        is_closed=False,
        reads_its_replies=lambda: True,
        fd=-1,
    )


def wait_for(slow: SlowRequests, client: Any, wait_s: float, then: Callable[[], Awaitable[object]]) -> float:
    """Let a request wait, and do something else meanwhile; gives when all was over. No real time passes."""

    async def wait() -> float:
        async with trio.open_nursery() as nursery:
            slow.run_in(nursery)
            slow.start(client, OpenRequest(1, (SocketSpec("late", 2, 1),), wait_s), [])
            await then()
        return trio.current_time()

    clock = trio.testing.MockClock(autojump_threshold=0)
    began = clock.current_time()
    return trio.run(wait, clock=clock) - began


def test_request_waits_as_long_as_it_asked_to() -> None:
    delivery, handler = FakeDelivery(), Handler(NO_SUCH_NAMESPACE)
    slow = SlowRequests(handler, delivery)  # type: ignore[arg-type]  # fakes
    took_s = wait_for(slow, fake_client(User(1000, 0, 1)), 30, trio.lowlevel.checkpoint)
    assert 30 <= took_s < 31
    assert [(uid, refusal.code) for uid, refusal in delivery.delivered] == [(1000, NO_SUCH_NAMESPACE)]
    assert handler.asked > 2


def test_request_of_a_client_that_is_gone_waits_no_longer() -> None:
    """And nothing is made for it any more."""
    delivery, handler = FakeDelivery(), Handler(NO_SUCH_NAMESPACE)
    slow = SlowRequests(handler, delivery)  # type: ignore[arg-type]  # fakes
    client = fake_client(User(1000, 0, 1))
    asked = 0

    async def leave() -> None:
        nonlocal asked
        await trio.sleep(5)
        client.is_closed = True
        asked = handler.asked

    assert wait_for(slow, client, 30, leave) < 6
    assert delivery.delivered == []
    assert handler.asked == asked
    assert (slow.running, client.user.waiting) == (0, 0)


def test_request_that_is_denied_meanwhile_waits_no_longer() -> None:
    """By a reload: only a namespace that is not there yet is waited for."""
    delivery = FakeDelivery()
    slow = SlowRequests(Handler(NO_SUCH_NAMESPACE, DENIED), delivery)  # type: ignore[arg-type]  # fakes
    assert wait_for(slow, fake_client(User(1000, 0, 1)), 30, trio.lowlevel.checkpoint) < 1
    assert [refusal.code for _, refusal in delivery.delivered] == [DENIED]


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
