"""`redis.asyncio` in a namespace.

    async with redis.asyncio.Redis(connection_pool=ConnectionPool("blue", host="redis.example.org")) as client:
        await client.ping()

`Connection` and `SSLConnection` are what the pool makes.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import redis.asyncio

from ._hooks import require
from ._namespace import as_namespace
from .asyncio import open_connection

if TYPE_CHECKING:
    from typing import Any, Self

    from ..module.namespace import Namespace
    from ..wire.messages import NamespaceRef

require(redis.asyncio.Connection, "_connect", "_connection_arguments")


class Connection(redis.asyncio.Connection):
    """`redis.asyncio.Connection` in a namespace."""

    def __init__(self, *, namespace: Namespace | NamespaceRef, **kwargs: Any) -> None:
        self._namespace = as_namespace(namespace)
        super().__init__(**kwargs)

    async def _connect(self) -> None:
        async with asyncio.timeout(self.socket_connect_timeout):
            reader, writer = await open_connection(self._namespace, **self._connection_arguments())
        self._reader, self._writer = reader, writer
        sock = writer.transport.get_extra_info("socket")
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.socket_keepalive:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                options: Any = self.socket_keepalive_options or {}
                for name, value in options.items():
                    sock.setsockopt(socket.IPPROTO_TCP, name, value)
        except BaseException:
            writer.close()
            raise


class SSLConnection(redis.asyncio.SSLConnection, Connection):
    """`redis.asyncio.SSLConnection` in a namespace."""


_CLASSES: dict[Any, type[Connection]] = {
    redis.asyncio.Connection: Connection,
    redis.asyncio.SSLConnection: SSLConnection,
}


class ConnectionPool(redis.asyncio.ConnectionPool):
    """`redis.asyncio.ConnectionPool` in a namespace.

    `connection_class` is `redis.asyncio.Connection` or `redis.asyncio.SSLConnection`.
    """

    def __init__(
        self, namespace: Namespace | NamespaceRef, connection_class: Any = redis.asyncio.Connection, **kwargs: Any
    ) -> None:
        if connection_class not in _CLASSES:
            raise TypeError(f"no connections of {connection_class} in a namespace")
        super().__init__(_CLASSES[connection_class], namespace=as_namespace(namespace), **kwargs)

    @classmethod
    def from_url(cls, namespace: Namespace | NamespaceRef, url: str, **kwargs: Any) -> Self:  # type: ignore[override]  # the namespace comes first
        """Make a pool for a URL such as redis://host/0, or rediss://host/0 for TLS."""
        return super().from_url(url, namespace=namespace, **kwargs)
