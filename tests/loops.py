"""The event loops that everything asynchronous is tested on, with the client of the broker that belongs to each."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any, NamedTuple

import anyio
import pytest

import nsbroker.async_client.anyio
import nsbroker.async_client.asyncio
import nsbroker.async_client.trio
from nsbroker.async_client.base import BaseClient


class Loop(NamedTuple):
    """An event loop as anyio starts it; what is tested uses anyio only where that is its name."""

    name: str
    backend: str
    options: dict[str, Any]
    client: type[BaseClient]

    def run(self, function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        return anyio.run(function, *args, backend=self.backend, backend_options=self.options)


ASYNCIO = Loop("asyncio", "asyncio", {}, nsbroker.async_client.asyncio.AsyncClient)
UVLOOP = Loop("uvloop", "asyncio", {"use_uvloop": True}, nsbroker.async_client.asyncio.AsyncClient)
TRIO = Loop("trio", "trio", {}, nsbroker.async_client.trio.AsyncClient)
ANYIO = Loop("anyio-asyncio", "asyncio", {}, nsbroker.async_client.anyio.AsyncClient)
ANYIO_TRIO = Loop("anyio-trio", "trio", {}, nsbroker.async_client.anyio.AsyncClient)

LOOPS = (ASYNCIO, UVLOOP, TRIO, ANYIO, ANYIO_TRIO)


def on(*loops: Loop) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("loop", loops, ids=lambda loop: loop.name)


MOST_MEDIAN_S = 0.005
MOST_GAP_S = 0.05
"""Other processes take the processor away for some milliseconds now and then; what is looked for is far longer."""


class Ticker:
    """A task that wakes every millisecond, and knows when it could not."""

    def __init__(self) -> None:
        self.gaps: list[float] = []

    async def tick(self) -> None:
        before = time.monotonic()
        while True:
            await anyio.sleep(0.001)
            now = time.monotonic()
            self.gaps.append(now - before)
            before = now

    def assert_never_blocked(self) -> None:
        assert median(self.gaps) < MOST_MEDIAN_S
        assert max(self.gaps) < MOST_GAP_S


async def while_ticking(function: Callable[[], Awaitable[Any]]) -> Ticker:
    """Await a function while a task ticks beside it."""
    ticker = Ticker()
    async with anyio.create_task_group() as group:
        group.start_soon(ticker.tick)
        await function()
        group.cancel_scope.cancel()
    return ticker
