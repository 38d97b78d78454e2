"""The event loops that everything asynchronous is tested on, with the client of the broker that belongs to each."""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any, NamedTuple

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import TaskStatus

import nsbroker.drivers.anyio
import nsbroker.drivers.asyncio
import nsbroker.drivers.trio
from nsbroker.drivers.base import BaseAsyncClient


class Loop(NamedTuple):
    """An event loop as anyio starts it. The tests use anyio itself only for the loop of that name."""

    name: str
    backend: str
    options: dict[str, Any]
    client: type[BaseAsyncClient]

    def run(self, function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        return anyio.run(function, *args, backend=self.backend, backend_options=self.options)


ASYNCIO = Loop("asyncio", "asyncio", {}, nsbroker.drivers.asyncio.AsyncClient)
UVLOOP = Loop("uvloop", "asyncio", {"use_uvloop": True}, nsbroker.drivers.asyncio.AsyncClient)
TRIO = Loop("trio", "trio", {}, nsbroker.drivers.trio.AsyncClient)
ANYIO = Loop("anyio-asyncio", "asyncio", {}, nsbroker.drivers.anyio.AsyncClient)
ANYIO_TRIO = Loop("anyio-trio", "trio", {}, nsbroker.drivers.anyio.AsyncClient)

LOOPS = (ASYNCIO, UVLOOP, TRIO, ANYIO, ANYIO_TRIO)


def start_each() -> None:
    """Run each loop once: libuv keeps descriptors beyond its loops, and uvloop imports modules when it runs."""
    for loop in LOOPS:
        loop.run(anyio.lowlevel.checkpoint)


def on(*loops: Loop) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("loop", loops, ids=lambda loop: loop.name)


MOST_S = 0.005
"""For how long a loop may be blocked."""
MOST_NOISE_S = 0.05
"""A pause that the host of a virtual machine can cause. The tests look for pauses that are far longer."""


class Ticker:
    """A task that wakes every millisecond, and knows when it could not."""

    def __init__(self) -> None:
        self.gaps: list[float] = []

    async def tick(self, *, task_status: TaskStatus[None]) -> None:
        before = _own_time()
        task_status.started()
        while True:
            try:
                await anyio.sleep(0.001)
            finally:
                now = _own_time()
                self.gaps.append(now - before)
                before = now

    def assert_never_blocked(self) -> None:
        assert median(self.gaps) < MOST_S
        assert max(self.gaps) < MOST_NOISE_S


def _own_time() -> float:
    """Seconds, without those in which this thread was ready and other processes had the processor.

    Source: Documentation/scheduler/sched-stats.rst.
    """
    with open("/proc/thread-self/schedstat") as file:
        waited_ns = int(file.read().split()[1])
    return time.monotonic() - waited_ns / 1e9


async def while_ticking(function: Callable[[], Awaitable[Any]]) -> Ticker:
    """Await a function while a task ticks beside it."""
    ticker = Ticker()
    # A garbage collection over the objects of all tests takes 50 ms and more, and would count as blocking.
    gc.disable()
    try:
        async with anyio.create_task_group() as group:
            await group.start(ticker.tick)
            await function()
            group.cancel_scope.cancel()
    finally:
        gc.enable()
    return ticker
