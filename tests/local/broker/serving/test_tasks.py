"""Requests that have tasks of their own: each user has a few, and they end with their client or their nursery."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from nsbroker.wire import DENIED, NO_SUCH_NAMESPACE, OVERLOADED, NamespacesRequest, OpenRequest, SocketSpec
from nsbrokerd.clients.client import Person
from nsbrokerd.clients.peer import Peer
from nsbrokerd.namespaces.awaited_names import AwaitedNames
from nsbrokerd.policy import Policy
from nsbrokerd.policy.grant import Subject
from nsbrokerd.policy.plans import Refusal
from nsbrokerd.requests.namespaces import ListNamespaces
from nsbrokerd.requests.open import OpenSockets
from nsbrokerd.requests.operation import InForce, Operation, Received
from nsbrokerd.requests.task import TaskQuota
from nsbrokerd.serving.tasks import MAX_HELD_DESCRIPTORS, MAX_TASKS, Tasks


class FakeDispatcher:
    """Has one operation, and keeps the refusals that it should deliver."""

    def __init__(self, operation: object) -> None:
        self._operation = operation
        self.delivered: list[tuple[int, str]] = []

    def operation_of(self, _request: object) -> Any:
        return self._operation

    def reply(self, client: Any, _request: object, outcome: Refusal) -> None:
        self.delivered.append((client.person.uid, outcome.code))


def fake_client(uid: int) -> Any:
    peer = Peer(Subject(uid, frozenset()), 1, 1)
    return SimpleNamespace(person=Person(uid, 0, 1), peer=peer, is_closed=False, reads_its_replies=lambda: True)


def fake_operation(name: str, tasks_for_user: int, serve_in_task: object) -> Any:
    return SimpleNamespace(name=name, quota_of=lambda _: TaskQuota(name, tasks_for_user), serve_in_task=serve_in_task)


@pytest.mark.parametrize(("operation", "most"), [(OpenSockets, 2), (ListNamespaces, 8)])
def test_tasks_of_one_user_are_bounded(operation: type[Operation[Any]], most: int) -> None:
    """The bound holds over all connections of the user. Another user still has a task."""
    endless = fake_operation(operation.name, operation.tasks_for_user, lambda *_: trio.sleep_forever())
    dispatcher = FakeDispatcher(endless)
    greedy, other = fake_client(1000), fake_client(1001)

    async def ask() -> list[Refusal | None]:
        async with trio.open_nursery() as nursery:
            tasks = Tasks(dispatcher, nursery)  # type: ignore[arg-type]  # a fake

            def start(client: Any) -> Refusal | None:
                return tasks.start(client, Received(client.peer, NamespacesRequest(1), [], b"", client.person))

            answers = [start(greedy) for _ in range(most + 1)]
            answers.append(start(other))
            assert tasks.running == most + 1
            nursery.cancel_scope.cancel()
        assert tasks.running == greedy.person.tasks[operation.name] == other.person.tasks[operation.name] == 0
        return answers

    before = os.listdir("/proc/self/fd")
    answers = trio.run(ask)
    assert [answer and answer.code for answer in answers] == [None] * most + [OVERLOADED, None]
    # The broker stops: without an answer, these clients ask the next broker.
    assert dispatcher.delivered == []
    assert os.listdir("/proc/self/fd") == before


def test_task_does_not_keep_the_packet_of_its_request() -> None:
    """A packet may have 64 KB, and a user can have many uids with such tasks. The request's descriptors stay open."""
    kept: list[Received[NamespacesRequest]] = []
    still_open: list[bool] = []

    async def show(received: Received[NamespacesRequest], _is_answerable: object) -> None:
        kept.append(received)
        still_open.extend(os.path.exists(f"/proc/self/fd/{fd}") for fd in received.fds)

    async def ask(received: Received[NamespacesRequest]) -> None:
        operation = fake_operation("showing", 1, show)
        async with trio.open_nursery() as nursery:
            Tasks(FakeDispatcher(operation), nursery).start(client, received)  # type: ignore[arg-type]  # a fake

    before = os.listdir("/proc/self/fd")
    client, request = fake_client(1000), NamespacesRequest(1)
    trio.run(
        ask, Received(client.peer, request, [os.open("/proc/self/ns/net", os.O_RDONLY)], bytes(65536), client.person)
    )
    assert (still_open, kept) == ([True], [Received(client.peer, request, [], b"", client.person)])
    assert os.listdir("/proc/self/fd") == before


class Rounds(trio.abc.Instrument):
    """Counts the rounds of trio. In one round, each task that can go on does so."""

    count = 0

    def after_io_wait(self, timeout: float) -> None:
        self.count += 1


class Trying(OpenSockets):
    """Gets one refusal after the other, and the last one again and again.

    `there` has the namespaces that exist, and `tried_in` the round of each try.
    """

    def __init__(self, *codes: str) -> None:
        self._codes = codes
        self._in_force = InForce(Policy(()), None, None)  # type: ignore[arg-type]  # no socket is made
        self._awaited = AwaitedNames(self._find)
        self.there: dict[str, tuple[int, int]] = {}
        self.tries = 0
        self.rounds = Rounds()
        self.tried_in: list[int] = []

    def _find(self, name: str) -> tuple[int, int] | None:
        return self.there.get(name)

    def _try(self, _received: Received[OpenRequest], _containers: object = None) -> Refusal:
        self.tries += 1
        self.tried_in.append(self.rounds.count)
        assert self.tries < 10_000, "it tries for ever"
        return Refusal(self._codes[min(self.tries, len(self._codes)) - 1], "no")


def wait_for(
    operation: Trying, clients: Sequence[Any], wait_s: float, then: Callable[[], Awaitable[object]], *names: str
) -> tuple[float, Any]:
    """Let requests for these names wait, and do something else meanwhile.

    Returns:
        The seconds that it took, of which no real time passes, and the delivered refusals.
    """
    dispatcher = FakeDispatcher(operation)
    request = OpenRequest(1, tuple(SocketSpec(name, 2, 1) for name in names or ("late",)), wait_s)

    async def wait() -> float:
        async with trio.open_nursery() as nursery:
            tasks = Tasks(dispatcher, nursery)  # type: ignore[arg-type]  # a fake
            for client in clients:
                tasks.start(client, Received(client.peer, request, [], b"", client.person))
            await then()
        return trio.current_time()

    clock = trio.testing.MockClock(autojump_threshold=0)
    began = clock.current_time()
    return trio.run(wait, clock=clock, instruments=[operation.rounds]) - began, dispatcher.delivered


def test_request_waits_as_long_as_it_asked_to() -> None:
    """It is planned again only at the end."""
    operation = Trying(NO_SUCH_NAMESPACE)
    took_s, delivered = wait_for(operation, [fake_client(1000)], 30, trio.lowlevel.checkpoint)
    assert 30 <= took_s < 31
    assert delivered == [(1000, NO_SUCH_NAMESPACE)]
    assert operation.tries == 1


def test_request_of_a_client_that_is_gone_waits_no_longer() -> None:
    """And no socket is made for it any more."""
    operation, client = Trying(NO_SUCH_NAMESPACE), fake_client(1000)

    async def leave() -> None:
        await trio.sleep(5)
        client.is_closed = True

    took_s, delivered = wait_for(operation, [client], 30, leave)
    assert took_s < 6
    assert delivered == []
    assert operation.tries == 0


def test_request_of_a_client_that_leaves_with_replies_unread_makes_no_socket() -> None:
    operation, client = Trying(NO_SUCH_NAMESPACE), fake_client(1000)
    client.reads_its_replies = lambda: False
    operation.there["late"] = (1, 1)

    async def leave() -> None:
        await trio.sleep(5)
        client.is_closed = True

    took_s, delivered = wait_for(operation, [client], 30, leave)
    assert took_s < 6
    assert delivered == []
    assert operation.tries == 0


def test_waiting_request_does_not_keep_the_hub_busy() -> None:
    operation = Trying(NO_SUCH_NAMESPACE)
    running: list[int] = []

    async def ask() -> None:
        async with trio.open_nursery() as nursery:
            tasks, client = Tasks(FakeDispatcher(operation), nursery), fake_client(1000)  # type: ignore[arg-type]  # a fake
            request = OpenRequest(1, (SocketSpec("late", 2, 1),), 30)
            tasks.start(client, Received(client.peer, request, [], b"", client.person))
            running.append(tasks.running)
            await trio.testing.wait_all_tasks_blocked()
            running.append(tasks.running)
            nursery.cancel_scope.cancel()
        running.append(tasks.running)

    trio.run(ask)
    assert running == [1, 0, 0]


def test_request_waits_until_all_of_its_namespaces_exist() -> None:
    """It is planned once. If it is denied by then, for example after a reload, it waits no longer."""
    operation = Trying(DENIED)

    async def come() -> None:
        for number, name in enumerate(("b", "a")):
            await trio.sleep(5)
            operation.there[name] = (1, number)

    took_s, delivered = wait_for(operation, [fake_client(1000)], 30, come, "a", "@host", "b")
    assert 10 <= took_s < 11
    assert delivered == [(1000, DENIED)]
    assert operation.tries == 1


def test_namespace_that_is_of_no_use_is_tried_once() -> None:
    """It is of another type, for example. Another one of the same name is tried again."""
    operation = Trying(NO_SUCH_NAMESPACE, DENIED)
    operation.there["late"] = (1, 1)

    async def replace() -> None:
        await trio.sleep(20)
        assert operation.tries == 1
        operation.there["late"] = (1, 2)

    took_s, delivered = wait_for(operation, [fake_client(1000)], 30, replace)
    assert 20 <= took_s < 21
    assert delivered == [(1000, DENIED)]
    assert operation.tries == 2


@pytest.mark.parametrize("is_there", [True, False])
def test_requests_that_can_go_on_do_so_one_after_the_other(is_there: bool) -> None:
    """When their namespace comes, and when their time is over. Others have turns in between."""
    operation = Trying(DENIED)

    async def come() -> None:
        await trio.sleep(5)
        if is_there:
            operation.there["late"] = (1, 1)

    took_s, _ = wait_for(operation, [fake_client(uid) for uid in range(50)], 30, come)
    assert (took_s < 10) == is_there
    assert len(operation.tried_in) == len(set(operation.tried_in)) == 50


def test_task_is_charged_to_its_person() -> None:
    """The time that it takes, and not the time that it waits."""
    charged: list[tuple[int, float]] = []

    async def spin(_received: Received[NamespacesRequest], _is_answerable: object) -> None:
        for _ in range(2):
            end = time.monotonic() + 0.01
            while time.monotonic() < end:
                pass
            await trio.sleep(0.05)

    async def ask() -> None:
        operation = fake_operation("spinning", 1, spin)
        async with trio.open_nursery() as nursery:
            tasks = Tasks(FakeDispatcher(operation), nursery)  # type: ignore[arg-type]  # a fake
            tasks.charge = lambda person, took_s: charged.append((person.uid, took_s))
            client = fake_client(1000)
            tasks.start(client, Received(client.peer, NamespacesRequest(1), [], b"", client.person))

    trio.run(ask)
    assert {uid for uid, _ in charged} == {1000}
    assert [took_s >= 0.01 for _, took_s in charged] == [True, True, False]


@pytest.mark.parametrize(
    ("fds", "packet", "most"), [(0, b"", MAX_TASKS), (2, b"", MAX_HELD_DESCRIPTORS // 2), (0, bytes(2**16), 64)]
)
def test_tasks_of_all_persons_are_bounded(fds: int, packet: bytes, most: int) -> None:
    """So are the descriptors and the packets that they hold. Persons that no grant names get half of it."""
    endless = fake_operation("open", 2, lambda *_: trio.sleep_forever())

    async def ask() -> list[int]:
        started = []
        async with trio.open_nursery() as nursery:
            tasks = Tasks(FakeDispatcher(endless), nursery)  # type: ignore[arg-type]  # a fake
            for is_named in (False, True):
                clients = [fake_client(uid) for uid in range(most + 1)]
                for client in clients:
                    client.person.is_named = is_named
                answers = [
                    tasks.start(one, Received(one.peer, NamespacesRequest(1), [-1] * fds, packet, one.person))
                    for one in clients
                ]
                assert {answer.code for answer in answers if answer} == {OVERLOADED}
                started.append(answers.count(None))
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        return started

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nsbrokerd.serving.tasks.close_namespaces", lambda _: None)
        assert trio.run(ask) == [most // 2, most - most // 2]


def test_client_that_reads_no_replies_keeps_no_task() -> None:
    """It is dropped after the time that a client has to read, although it sends no further request."""
    answerable: list[bool] = []
    ours, theirs = socket.socketpair()

    async def wait(_received: object, is_answerable: Any) -> None:
        answerable.append(await is_answerable())

    async def ask() -> None:
        async with trio.open_nursery() as nursery:
            tasks = Tasks(FakeDispatcher(fake_operation("asking", 10, wait)), nursery)  # type: ignore[arg-type]  # a fake
            tasks.reply_timeout_s = lambda: 10
            client = fake_client(1000)
            client.sock, client.reads_its_replies = ours, lambda: False
            assert tasks.start(client, Received(client.peer, NamespacesRequest(1), [], b"", client.person)) is None
            await trio.sleep(9)
            assert tasks.usage()["tasks of asking"][0] == 1
            await trio.sleep(2)
            assert tasks.usage()["tasks of asking"][0] == 0
        assert answerable == [False]
        assert theirs.recv(1) == b""

    with ours, theirs:
        trio.run(ask, clock=trio.testing.MockClock(autojump_threshold=0))


def test_request_can_move_to_another_quota() -> None:
    """From then on, it leaves room in the former one. If the other one has no room, it stays."""
    outcomes: list[Refusal | None] = []

    async def move(_received: object, is_answerable: Any) -> None:
        outcomes.append(is_answerable.move_to(TaskQuota("waiting", 2)))
        if outcomes[-1] is None:
            assert is_answerable.move_to(TaskQuota("waiting", 2)) is None
        await trio.sleep_forever()

    operation = fake_operation("asking", 10, move)
    operation.quota_of = lambda _: TaskQuota("asking", 10, 4, holds_all=True)

    async def ask() -> None:
        async with trio.open_nursery() as nursery:
            tasks = Tasks(FakeDispatcher(operation), nursery)  # type: ignore[arg-type]  # a fake
            client = fake_client(1000)
            received = Received(client.peer, NamespacesRequest(1), [], b"x" * 100, client.person)
            started = []
            for _ in range(4):
                started.append(tasks.start(client, received))
                await trio.testing.wait_all_tasks_blocked()
            assert [one and one.code for one in started] == [None, None, None, None]
            assert [one and one.code for one in outcomes] == [None, None, OVERLOADED, OVERLOADED]
            assert client.person.tasks == {"asking": 8, "waiting": 2}
            assert tasks.start(client, received) is not None
            usage = tasks.usage()
            assert (usage["tasks of asking"][0], usage["tasks of waiting"][0]) == (8, 2)
            assert usage["bytes of tasks"][0] == 200
            nursery.cancel_scope.cancel()
        assert not +client.person.tasks
        assert not any(used for used, _ in tasks.usage().values())

    trio.run(ask)
