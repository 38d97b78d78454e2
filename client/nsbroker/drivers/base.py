"""What the clients for all event loops have in common: everything but the waiting."""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from ..link.asking import list_namespaces, open_sockets, plain_socket, read_resolver_files
from ..link.retry import DEFAULT_TIMEOUT_S, Reach

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from typing import Self, TypeVar

    from ..link.waiting import Sockets, Steps
    from ..wire.messages import NamespaceList, NamespaceRef, ResolverFiles, SocketSpec
    from .client import Client

    T = TypeVar("T")


async def run(steps: Steps[T], until_ready: Callable[[float, Sockets], Awaitable[Sockets]]) -> T:
    """Run steps in this task; return what they return.

    `until_ready(deadline, sockets)` waits as the event loop wants it, and gives those that are ready; () when the
    deadline came first.
    """
    try:
        deadline, sockets = next(steps)
        while True:
            deadline, sockets = steps.send(await until_ready(deadline, sockets))
    except StopIteration as end:
        result: T = end.value
        return result
    except BaseException:
        steps.close()
        raise


class BaseClient(ABC):
    """A way to one broker, for any number of tasks.

    A call that is cancelled closes its connection, and every socket that it had got or was still to get.

    Args:
        path: the broker's socket; else $NSBROKER_SOCKET, else /run/nsbroker/nsbroker.sock.
        timeout: seconds after which a call gives up with `BrokerUnavailableError`.
        client: instead of both: the client of threads whose idle connections are to be used as well.
    """

    def __init__(
        self, path: str | None = None, timeout: float = DEFAULT_TIMEOUT_S, *, client: Client | None = None
    ) -> None:
        if client is not None and path is not None:
            raise TypeError("a client has its path already")
        self.reach = client.reach if client is not None else Reach(path, timeout)

    @staticmethod
    @abstractmethod
    async def _run(steps: Steps[T]) -> T:
        """Run steps in this task."""

    async def open(self, specs: Iterable[SocketSpec], wait: float = 0) -> list[socket.socket]:
        """Open sockets, all or none, as `Client.open` does.

        For an event loop their types should have SOCK_NONBLOCK.
        """
        return await self._run(open_sockets(self.reach, plain_socket, specs, wait))

    async def namespaces(self) -> NamespaceList:
        """Ask which namespaces this user may use, as `Client.namespaces` does."""
        return await self._run(list_namespaces(self.reach))

    async def resolver_files(self, namespace: NamespaceRef) -> ResolverFiles:
        """Ask for a namespace's resolv.conf and hosts, as `Client.resolver_files` does."""
        return await self._run(read_resolver_files(self.reach, namespace))

    def close(self) -> None:
        """Close the idle connections. The client can still be used: it connects anew."""
        self.reach.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__name__} {self.reach.path!r}>"
