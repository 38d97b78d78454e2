"""The tasks of requests that can't be answered at once.

Each person may have a few of them for each operation, and all persons together have a bounded number of tasks, and of
descriptors and bytes in them.
"""

from __future__ import annotations

import contextlib
import socket
import time
import types
from collections import defaultdict
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import structlog
import trio

from nsbroker.wire import OVERLOADED, Request

from ..clients.client import Client, Person
from ..clients.pools import Pool
from ..clients.quotas import Quotas
from ..namespaces.netns import close_namespaces
from ..policy.plans import Refusal
from ..requests.dispatch import Dispatcher
from ..requests.operation import Received
from ..requests.task import TaskQuota

_RECHECK_S = 0.25
"""How often a task looks whether its client has read its replies."""

MAX_TASKS = 512
"""Tasks of all persons, for each operation."""

MAX_HELD_DESCRIPTORS = 256
"""Descriptors of all persons that came with the requests of tasks."""

MAX_HELD_BYTES = 2**22
"""Bytes of all packets whose requests have tasks. In memory, a request can take ten times as much."""

log = structlog.get_logger()


class Tasks:
    """Runs the tasks in a nursery.

    Attributes:
        running: the number of tasks, without those that only wait for an event.
        charge: counts the time of a task as its person's.
        reply_timeout_s: returns the seconds that a client may leave its replies unread while a task waits for it.
    """

    def __init__(self, dispatcher: Dispatcher, nursery: trio.Nursery) -> None:
        self._dispatcher = dispatcher
        self._nursery = nursery
        self._tasks: defaultdict[str, Pool] = defaultdict(partial(Pool, MAX_TASKS))
        self._descriptors = Pool(MAX_HELD_DESCRIPTORS)
        self._bytes = Pool(MAX_HELD_BYTES)
        self.running = 0
        self.charge: Callable[[Person, float], None] = _charge_nobody
        self.reply_timeout_s: Callable[[], float] = _default_timeout_s

    def usage(self) -> dict[str, tuple[int, int]]:
        """Return how much is in use, and the most, of each quota of tasks."""
        pools = {f"tasks of {name}": pool for name, pool in self._tasks.items()}
        pools |= {"descriptors of tasks": self._descriptors, "bytes of tasks": self._bytes}
        return {name: (pool.taken, pool.most) for name, pool in pools.items()}

    @property
    def are_ending(self) -> bool:
        """Whether the broker stops, so that no task can begin."""
        return self._nursery.cancel_scope.cancel_called

    def start(self, client: Client, received: Received[Request]) -> Refusal | None:
        """Begin a task, which takes over the request's descriptors, or return a refusal."""
        operation, person = self._dispatcher.operation_of(received.request), client.person
        held = len(received.fds), len(received.packet)
        quota = operation.quota_of(received)
        booked = self.book(person, operation.name, quota, held)
        if isinstance(booked, Refusal):
            return booked
        is_answerable = _IsAnswerable(self, client, operation.name, held, quota, booked)
        self.running += 1
        # Without the packet, which can be longer than the request in memory, and is of no use to a task.
        task = self._run(client, received._replace(packet=b""), is_answerable)
        self._nursery.start_soon(self._run_charged, task, person)
        return None

    def book(self, person: Person, operation: str, quota: TaskQuota, held: tuple[int, int]) -> ExitStack | Refusal:
        """Count a task against a quota until the result is closed, or return a refusal.

        Args:
            person: the user of the request.
            operation: the name of its operation.
            quota: what it takes.
            held: the numbers of its descriptors and bytes.
        """
        name, for_user, amount, holds_all = quota
        if person.tasks[name] + amount > for_user:
            told = f"{person.tasks[name]} requests of uid {person.uid} for {operation!r} are in progress"
            return Refusal(OVERLOADED, f"{told} already; try again later")
        descriptors, size = (0, 0) if holds_all else held
        with ExitStack() as parts:
            for pool, part in ((self._tasks[name], amount), (self._descriptors, descriptors), (self._bytes, size)):
                if not pool.take(person, part):
                    told = f"too many requests for {operation!r} are in progress, of all users together"
                    return Refusal(OVERLOADED, f"{told}; try again later")
                parts.callback(pool.give_back, person, part)
            person.tasks[name] += amount
            parts.callback(_give_back, person, name, amount)
            return parts.pop_all()

    async def _run_charged(self, task: Coroutine[Any, Any, None], person: Person) -> None:
        await _charged(task, lambda took_s: self.charge(person, took_s))

    async def _run(self, client: Client, received: Received[Request], is_answerable: _IsAnswerable) -> None:
        operation = self._dispatcher.operation_of(received.request)
        try:
            outcome = await operation.serve_in_task(received, is_answerable)
            if outcome is not None:
                self._dispatcher.reply(client, received.request, outcome)
        except OSError as error:
            log.debug("client lost", uid=client.person.uid, pid=client.peer.pid, reason=str(error))
            _drop(client)
        finally:
            self.running -= 1
            is_answerable.booked.close()
            close_namespaces(received.fds)


class _IsAnswerable:
    """The client of a task, as the task's operation sees it. Closing `booked` gives back what the task takes."""

    def __init__(
        self,
        tasks: Tasks,
        client: Client,
        operation: str,
        held: tuple[int, int],
        quota: TaskQuota,
        booked: ExitStack,
    ) -> None:
        self._tasks = tasks
        self._client = client
        self._operation = operation
        self._held = held
        self._quota = quota
        self.booked = booked

    async def __call__(self) -> bool:
        client, since = self._client, trio.current_time()
        while not client.is_closed and not client.reads_its_replies():
            # The hub looks only at clients that send more requests.
            if trio.current_time() - since >= self._tasks.reply_timeout_s():
                log.debug("client lost: it does not read its replies", uid=client.person.uid, pid=client.peer.pid)
                _drop(client)
                return False
            await trio.sleep(_RECHECK_S)
        return not client.is_closed

    def is_gone(self) -> bool:
        return self._client.is_closed

    @contextmanager
    def asleep(self) -> Iterator[None]:
        self._tasks.running -= 1
        try:
            yield
        finally:
            self._tasks.running += 1

    def move_to(self, quota: TaskQuota) -> Refusal | None:
        if quota == self._quota:
            return None
        booked = self._tasks.book(self._client.person, self._operation, quota, self._held)
        if isinstance(booked, Refusal):
            return booked
        self.booked.close()
        self.booked, self._quota = booked, quota
        return None


def _drop(client: Client) -> None:
    """Let the hub drop a client, so that it does not wait for this reply."""
    with contextlib.suppress(OSError):
        client.sock.shutdown(socket.SHUT_RDWR)


def _default_timeout_s() -> float:
    return Quotas().reply_timeout_s


def _give_back(person: Person, name: str, amount: int) -> None:
    person.tasks[name] -= amount


def _charge_nobody(_person: Person, _took_s: float) -> None: ...


@types.coroutine
def _charged(task: Coroutine[Any, Any, None], charge: Callable[[float], None]) -> Generator[Any, Any, None]:
    """Run a task, and charge the time between its waits."""
    resume = partial(task.send, None)
    while True:
        began = time.monotonic()
        try:
            awaited = resume()
        except StopIteration:
            return
        finally:
            charge(time.monotonic() - began)
        try:
            resume = partial(task.send, (yield awaited))
        except BaseException as error:  # trio cancels it
            resume = partial(task.throw, error)
