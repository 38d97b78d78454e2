"""Waiting in asyncio, and uvloop."""

from __future__ import annotations

import asyncio
from math import inf
from time import monotonic
from typing import TYPE_CHECKING

from ..link.waiting import READ
from . import base

if TYPE_CHECKING:
    from typing import TypeVar

    from ..link.waiting import Sockets, Steps

    T = TypeVar("T")


async def run(steps: Steps[T]) -> T:
    """Run steps in this task; return what they return."""
    return await base.run(steps, _until_ready)


async def _until_ready(deadline: float, sockets: Sockets) -> Sockets:
    """Wait until the deadline, or until one of the sockets is ready; return those that are."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    ready: list[tuple[object, int]] = []

    def wake(pair: tuple[object, int] | None = None) -> None:
        if pair is not None:
            ready.append(pair)
        if not future.done():
            future.set_result(None)

    timer = None if deadline == inf else loop.call_later(max(0, deadline - monotonic()), wake)
    try:
        for pair in sockets:
            # By number: uvloop keeps a socket object from being closed while it watches it.
            (loop.add_reader if pair[1] == READ else loop.add_writer)(pair[0].fileno(), wake, pair)
        await future
    finally:
        if timer is not None:
            timer.cancel()
        for sock, event in sockets:
            (loop.remove_reader if event == READ else loop.remove_writer)(sock.fileno())
    return tuple(pair for pair in sockets if pair in ready)


class AsyncClient(base.BaseClient):
    """A way to one broker, for any number of tasks of asyncio's event loops."""

    _run = staticmethod(run)
