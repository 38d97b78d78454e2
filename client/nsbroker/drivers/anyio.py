"""Waiting in anyio, on either backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from . import base

if TYPE_CHECKING:
    from typing import TypeVar

    from ..link.waiting import Sockets, Waiting

    T = TypeVar("T")


async def run(coroutine: Waiting[T]) -> T:
    """Run code to its end in this task and return its result. This is always a checkpoint."""
    return await base.run(coroutine, _until_ready, anyio.lowlevel.checkpoint)


async def _until_ready(deadline: float, sockets: Sockets) -> Sockets:
    return await base.until_ready_in_group(
        deadline, sockets, anyio, anyio.create_task_group, anyio.wait_readable, anyio.wait_writable
    )


class AsyncClient(base.BaseAsyncClient):
    """Asks one broker for sockets, in any number of tasks of anyio, on both of its backends.

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
        >>> import anyio
        >>> from nsbroker.adapters.anyio import AsyncClient
        >>> async def main():
        ...     async with AsyncClient(timeout=2) as client:
        ...         return await client.namespaces()
        >>> answer = anyio.run(main)
    """

    _run = staticmethod(run)
