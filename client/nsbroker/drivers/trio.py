"""Waiting in trio."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

import trio

from ..link.waiting import READ
from . import base

if TYPE_CHECKING:
    import socket
    from typing import TypeVar

    from ..link.waiting import Sockets, Steps

    T = TypeVar("T")


async def run(steps: Steps[T]) -> T:
    """Run steps in this task; return what they return. It is a checkpoint in any case."""
    await trio.lowlevel.checkpoint()
    return await base.run(steps, _until_ready)


async def _until_ready(deadline: float, sockets: Sockets) -> Sockets:
    """Wait until the deadline, or until one of the sockets is ready; return those that are."""
    ready: list[tuple[object, int]] = []

    async def watch(pair: tuple[socket.SocketType, int], scope: trio.CancelScope) -> None:
        await (trio.lowlevel.wait_readable if pair[1] == READ else trio.lowlevel.wait_writable)(pair[0])
        ready.append(pair)
        scope.cancel()

    with trio.move_on_after(max(0, deadline - monotonic())) as until:
        if len(sockets) == 1:
            await watch(sockets[0], until)
        else:
            async with trio.open_nursery() as nursery:
                for pair in sockets:
                    nursery.start_soon(watch, pair, until)
                if not sockets:
                    await trio.sleep_forever()
    return tuple(pair for pair in sockets if pair in ready)


class AsyncClient(base.BaseClient):
    """A way to one broker, for any number of trio's tasks."""

    _run = staticmethod(run)
