"""The part of the drivers for event loops that does not depend on the framework."""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from time import monotonic
from typing import TYPE_CHECKING

from ..link.broker import DEFAULT_TIMEOUT_S, Broker, check_stock, plain_socket
from ..link.waiting import READ
from ..place.binding import open_sockets

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from typing import Any, Self, TypeVar

    from ..link.waiting import Sockets, Waiting
    from ..wire.messages import Address, Explanation, NamespaceList, NamespaceRef, ResolverFiles, SocketSpec
    from .thread import Client

    T = TypeVar("T")


async def run(
    coroutine: Waiting[T],
    until_ready: Callable[[float, Sockets], Awaitable[Sockets]],
    checkpoint: Callable[[], Awaitable[None]] | None = None,
) -> T:
    """Run code to its end in this task and return its result.

    `until_ready(deadline, sockets)` waits in the event loop, and returns the sockets that are ready, or () if the
    deadline passed first. `checkpoint()` comes before everything else.
    """
    try:
        if checkpoint is not None:
            await checkpoint()
        deadline, sockets = coroutine.send(None)
        while True:
            deadline, sockets = coroutine.send(await until_ready(deadline, sockets))
    except StopIteration as end:
        result: T = end.value
        return result
    except BaseException:
        coroutine.close()
        raise


async def until_ready_in_group(
    deadline: float,
    sockets: Sockets,
    library: Any,
    open_group: Callable[[], Any],
    wait_readable: Callable[[Any], Awaitable[None]],
    wait_writable: Callable[[Any], Awaitable[None]],
) -> Sockets:
    """Wait as `run` needs it, with a task for each socket. `library` is trio or anyio, with its group of tasks."""
    ready: list[tuple[object, int]] = []

    async def watch(pair: tuple[socket.SocketType, int], scope: Any) -> None:
        await (wait_readable if pair[1] == READ else wait_writable)(pair[0])
        ready.append(pair)
        scope.cancel()

    with library.move_on_after(max(0, deadline - monotonic())) as until:
        if len(sockets) == 1:
            await watch(sockets[0], until)
        else:
            async with open_group() as group:
                for pair in sockets:
                    group.start_soon(watch, pair, until)
                if not sockets:
                    await library.sleep_forever()
    return tuple(pair for pair in sockets if pair in ready)


class BaseAsyncClient(ABC):
    """Asks one broker for sockets without blocking the event loop. Any number of tasks can use a client.

    If you cancel a call, it closes its connection and every socket that it has opened.

    The arguments are those of each framework's `AsyncClient`.
    """

    def __init__(
        self,
        path: str | None = None,
        timeout: float = DEFAULT_TIMEOUT_S,
        *,
        client: Client | None = None,
        stock: int | None = None,
    ) -> None:
        if client is not None and path is not None:
            raise TypeError("give either a path or a client: a client has a path already")
        self._broker = client.broker if client is not None else Broker(path, timeout)
        self._stock = check_stock((client.stock if client is not None else 0) if stock is None else stock)

    @staticmethod
    @abstractmethod
    async def _run(coroutine: Waiting[T]) -> T:
        """Run code to its end in this task and return its result."""

    async def open(self, specs: Iterable[SocketSpec], wait: float = 0) -> list[socket.socket]:
        """Open sockets, all or none. Arguments, result and errors are those of `Client.open`.

        One socket alone can come from the client's stock. For an event loop, the types of the sockets should include
        SOCK_NONBLOCK.

        Example:
            >>> from socket import AF_INET, SOCK_DGRAM, SOCK_NONBLOCK
            >>> from nsbroker import SocketSpec
            >>> from nsbroker.adapters.asyncio import AsyncClient
            >>> [sock] = await AsyncClient().open([SocketSpec("blue", AF_INET, SOCK_DGRAM | SOCK_NONBLOCK)])
            >>> sock.getblocking()
            False
            >>> sock.close()
        """
        return await self._run(open_sockets(self._broker, plain_socket, specs, wait, self._stock))

    async def namespaces(self) -> NamespaceList:
        """Ask which namespaces this user may use. Result and errors are those of `Client.namespaces`.

        Example:
            >>> from nsbroker.adapters.asyncio import AsyncClient
            >>> names = [name for name, _ in (await AsyncClient().namespaces()).namespaces]
            >>> "blue" in names
            True
        """
        return await self._run(self._broker.list_namespaces())

    async def resolver_files(self, namespace: NamespaceRef) -> ResolverFiles:
        """Ask for a namespace's files. Argument, result and errors are those of `Client.resolver_files`.

        Example:
            >>> from nsbroker.adapters.asyncio import AsyncClient
            >>> "nameserver" in (await AsyncClient().resolver_files("blue")).resolv_conf
            True
        """
        return await self._run(self._broker.read_resolver_files(namespace))

    async def explain(self, spec: SocketSpec, connect: Address | None = None) -> Explanation:
        """Ask whether this user may have a socket. Arguments, result and errors are those of `Client.explain`.

        Example:
            >>> from socket import AF_INET, SOCK_STREAM
            >>> from nsbroker import SocketSpec
            >>> from nsbroker.adapters.asyncio import AsyncClient
            >>> answer = await AsyncClient().explain(SocketSpec("blue", AF_INET, SOCK_STREAM))
            >>> answer.reason is None
            True
        """
        return await self._run(self._broker.explain(spec, connect))

    def close(self) -> None:
        """Close the idle connections, and the sockets in stock. You can still use the client: it connects again.

        Example:
            >>> from nsbroker.adapters.asyncio import AsyncClient
            >>> AsyncClient().close()
        """
        self._broker.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__name__} {self._broker.path!r}>"
