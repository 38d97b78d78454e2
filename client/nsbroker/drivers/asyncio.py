"""Waiting in asyncio, and in uvloop."""

from __future__ import annotations

import asyncio
from math import inf
from time import monotonic
from typing import TYPE_CHECKING

from ..link.waiting import READ
from . import base

if TYPE_CHECKING:
    from typing import TypeVar

    from ..link.waiting import Sockets, Waiting

    T = TypeVar("T")


async def run(coroutine: Waiting[T]) -> T:
    """Run code to its end in this task and return its result."""
    return await base.run(coroutine, _until_ready)


async def _until_ready(deadline: float, sockets: Sockets) -> Sockets:
    """Wait until the deadline, or until one of the sockets is ready. Return the ready ones."""
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


class AsyncClient(base.BaseAsyncClient):
    """Asks one broker for sockets, in any number of tasks of asyncio and uvloop.

    If you cancel a call, it closes its connection and every socket that it has opened.

    Args:
        path: the broker's socket. Default: $NSBROKER_SOCKET, then /run/nsbroker/nsbroker.sock.
        timeout: seconds after which a call gives up with `BrokerUnavailableError`.
        client: a `Client` whose broker, timeout and idle connections to use, instead of `path` and `timeout`.
        stock: as for `Namespace`, for calls of `open` with one spec. Default: that of `client`, otherwise 0.

    Raises:
        ValueError: the timeout is not more than 0, or the stock is out of range.
        TypeError: both a path and a client are given.

    Example:
        >>> import asyncio
        >>> from nsbroker.adapters.asyncio import AsyncClient
        >>> async def main():
        ...     async with AsyncClient(timeout=2) as client:
        ...         return await client.namespaces()
        >>> answer = asyncio.run(main())
    """

    _run = staticmethod(run)
