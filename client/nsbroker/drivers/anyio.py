"""Waiting in anyio, on either backend."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from ..link.waiting import READ
from . import base

if TYPE_CHECKING:
    import socket
    from typing import TypeVar

    from ..link.waiting import Sockets, Steps

    T = TypeVar("T")


async def run(steps: Steps[T]) -> T:
    """Run steps in this task; return what they return. It is a checkpoint in any case."""
    await anyio.lowlevel.checkpoint()
    return await base.run(steps, _until_ready)


async def _until_ready(deadline: float, sockets: Sockets) -> Sockets:
    """Wait until the deadline, or until one of the sockets is ready; return those that are."""
    ready: list[tuple[object, int]] = []

    async def watch(pair: tuple[socket.SocketType, int], scope: anyio.CancelScope) -> None:
        await (anyio.wait_readable if pair[1] == READ else anyio.wait_writable)(pair[0])
        ready.append(pair)
        scope.cancel()

    with anyio.move_on_after(max(0, deadline - monotonic())) as until:
        if len(sockets) == 1:
            await watch(sockets[0], until)
        else:
            async with anyio.create_task_group() as group:
                for pair in sockets:
                    group.start_soon(watch, pair, until)
                if not sockets:
                    await anyio.sleep_forever()
    return tuple(pair for pair in sockets if pair in ready)


class AsyncClient(base.BaseClient):
    """A way to one broker, for any number of anyio's tasks."""

    _run = staticmethod(run)
