"""Requests that have tasks of their own: each user has a few, and they end with their client or their nursery."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from nsbroker.wire import DENIED, NO_SUCH_NAMESPACE, OVERLOADED, NamespacesRequest, OpenRequest, SocketSpec
from nsbrokerd.clients.client import User
from nsbrokerd.clients.peer import Peer
from nsbrokerd.policy.grant import Subject
from nsbrokerd.policy.plans import Refusal
from nsbrokerd.requests.namespaces import ListNamespaces
from nsbrokerd.requests.open import OpenSockets
from nsbrokerd.requests.operation import Operation, Received
from nsbrokerd.serving.tasks import Tasks


class FakeDispatcher:
    """Has one operation, and keeps the refusals that it should deliver."""

    def __init__(self, operation: object) -> None:
        self._operation = operation
        self.delivered: list[tuple[int, str]] = []

    def operation_of(self, _request: object) -> Any:
        return self._operation

    def reply(self, client: Any, _request: object, outcome: Refusal) -> None:
        self.delivered.append((client.user.uid, outcome.code))


def fake_client(uid: int) -> Any:
    peer = Peer(Subject(uid, frozenset()), 1, 1)
    return SimpleNamespace(user=User(uid, 0, 1), peer=peer, is_closed=False, reads_its_replies=lambda: True)


@pytest.mark.parametrize(("operation", "most"), [(OpenSockets, 2), (ListNamespaces, 8)])
def test_tasks_of_one_user_are_bounded(operation: type[Operation[Any]], most: int) -> None:
    """The bound holds over all connections of the user. Another user still has a task."""
    endless = SimpleNamespace(
        name=operation.name, tasks_for_user=operation.tasks_for_user, serve_in_task=lambda *_: trio.sleep_forever()
    )
    dispatcher = FakeDispatcher(endless)
    greedy, other = fake_client(1000), fake_client(1001)

    async def ask() -> list[Refusal | None]:
        async with trio.open_nursery() as nursery:
            tasks = Tasks(dispatcher, nursery)  # type: ignore[arg-type]  # a fake

            def start(client: Any) -> Refusal | None:
                return tasks.start(client, Received(client.peer, NamespacesRequest(1), [], b""))

            answers = [start(greedy) for _ in range(most + 1)]
            answers.append(start(other))
            assert tasks.running == most + 1
            nursery.cancel_scope.cancel()
        assert tasks.running == greedy.user.tasks[operation.name] == other.user.tasks[operation.name] == 0
        return answers

    before = os.listdir("/proc/self/fd")
    answers = trio.run(ask)
    assert [answer and answer.code for answer in answers] == [None] * most + [OVERLOADED, None]
    # The broker stops: these clients may try again.
    assert sorted(dispatcher.delivered) == [(1000, OVERLOADED)] * most + [(1001, OVERLOADED)]
    assert os.listdir("/proc/self/fd") == before


def test_task_does_not_keep_the_packet_of_its_request() -> None:
    """A packet may have 64 KB, and a user can have many uids with such tasks. The request's descriptors stay open."""
    kept: list[Received[NamespacesRequest]] = []
    still_open: list[bool] = []

    async def show(received: Received[NamespacesRequest], _is_answerable: object) -> None:
        kept.append(received)
        still_open.extend(os.path.exists(f"/proc/self/fd/{fd}") for fd in received.fds)

    async def ask(received: Received[NamespacesRequest]) -> None:
        operation = SimpleNamespace(name="showing", tasks_for_user=1, serve_in_task=show)
        async with trio.open_nursery() as nursery:
            Tasks(FakeDispatcher(operation), nursery).start(client, received)  # type: ignore[arg-type]  # a fake

    before = os.listdir("/proc/self/fd")
    client, request = fake_client(1000), NamespacesRequest(1)
    trio.run(ask, Received(client.peer, request, [os.open("/proc/self/ns/net", os.O_RDONLY)], bytes(65536)))
    assert (still_open, kept) == ([True], [Received(client.peer, request, [], b"")])
    assert os.listdir("/proc/self/fd") == before


class Trying(OpenSockets):
    """Gets one refusal after the other, and the last one again and again."""

    def __init__(self, *codes: str) -> None:
        self._codes = codes
        self.tries = 0

    def _try(self, _received: Received[OpenRequest]) -> Refusal:
        self.tries += 1
        assert self.tries < 10_000, "it tries for ever"
        return Refusal(self._codes[min(self.tries, len(self._codes)) - 1], "no")


def wait_for(operation: Trying, client: Any, wait_s: float, then: Callable[[], Awaitable[object]]) -> tuple[float, Any]:
    """Let a request wait, and do something else meanwhile.

    Returns:
        The seconds that it took, of which no real time passes, and the delivered refusals.
    """
    dispatcher = FakeDispatcher(operation)
    request = OpenRequest(1, (SocketSpec("late", 2, 1),), wait_s)

    async def wait() -> float:
        async with trio.open_nursery() as nursery:
            Tasks(dispatcher, nursery).start(client, Received(client.peer, request, [], b""))  # type: ignore[arg-type]  # a fake
            await then()
        return trio.current_time()

    clock = trio.testing.MockClock(autojump_threshold=0)
    began = clock.current_time()
    return trio.run(wait, clock=clock) - began, dispatcher.delivered


def test_request_waits_as_long_as_it_asked_to() -> None:
    operation = Trying(NO_SUCH_NAMESPACE)
    took_s, delivered = wait_for(operation, fake_client(1000), 30, trio.lowlevel.checkpoint)
    assert 30 <= took_s < 31
    assert delivered == [(1000, NO_SUCH_NAMESPACE)]
    assert operation.tries > 2


def test_request_of_a_client_that_is_gone_waits_no_longer() -> None:
    """And no socket is made for it any more."""
    operation, client = Trying(NO_SUCH_NAMESPACE), fake_client(1000)
    tries = 0

    async def leave() -> None:
        nonlocal tries
        await trio.sleep(5)
        client.is_closed = True
        tries = operation.tries

    took_s, delivered = wait_for(operation, client, 30, leave)
    assert took_s < 6
    assert delivered == []
    assert operation.tries == tries


def test_request_that_is_denied_meanwhile_waits_no_longer() -> None:
    """After a reload, for example: a request waits only for a namespace that does not exist yet."""
    took_s, delivered = wait_for(Trying(NO_SUCH_NAMESPACE, DENIED), fake_client(1000), 30, trio.lowlevel.checkpoint)
    assert took_s < 1
    assert delivered == [(1000, DENIED)]
