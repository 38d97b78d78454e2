"""`redis.asyncio` in a namespace."""

from __future__ import annotations

import asyncio
from typing import Any

import redis.asyncio

from ._namespace import InNamespace, NamespaceLike, require
from .asyncio import open_connection
from .redis import NamespacePool, socket_options

require(redis.asyncio.Connection, "_connect", "_connection_arguments")


class Connection(InNamespace, redis.asyncio.Connection):
    """`redis.asyncio.Connection` in a namespace. `ConnectionPool` makes it.

    Args:
        namespace: the namespace of the connection and of the look-up.
        kwargs: as for `redis.asyncio.Connection`.

    Example:
        >>> connection = Connection("blue", host="redis.example.org", socket_timeout=5)
        >>> await connection.connect()
        >>> await connection.disconnect()
    """

    async def _connect(self) -> None:
        async with asyncio.timeout(self.socket_connect_timeout):
            reader, writer = await open_connection(self._namespace, **self._connection_arguments())
        self._reader, self._writer = reader, writer
        sock = writer.transport.get_extra_info("socket")
        try:
            for option in socket_options(self):
                sock.setsockopt(*option)
        except BaseException:
            writer.close()
            raise


class SSLConnection(redis.asyncio.SSLConnection, Connection):
    """`redis.asyncio.SSLConnection` in a namespace. `ConnectionPool` makes it.

    Args:
        namespace: the namespace of the connection and of the look-up.
        kwargs: as for `redis.asyncio.SSLConnection`.

    Example:
        >>> connection = SSLConnection("blue", host="redis.example.org", port=6380, socket_timeout=5)
        >>> await connection.connect()
        >>> await connection.disconnect()
    """

    def __init__(self, namespace: NamespaceLike, **kwargs: Any) -> None:
        super().__init__(namespace=namespace, **kwargs)


class ConnectionPool(NamespacePool, redis.asyncio.ConnectionPool):  # type: ignore[misc]  # in from_url, the namespace comes first
    """`redis.asyncio.ConnectionPool` in a namespace.

    Args:
        namespace: the namespace of the connections and of the look-ups.
        connection_class: `redis.asyncio.Connection` (the default) or `redis.asyncio.SSLConnection`.
        kwargs: as for `redis.asyncio.ConnectionPool`.

    Raises:
        TypeError: another connection_class was given.

    Example:
        >>> pool = ConnectionPool("blue", host="redis.example.org")
        >>> async with redis.asyncio.Redis.from_pool(pool) as client:
        ...     answer = await client.ping()
        >>> answer
        True
    """

    _CLASSES = {  # noqa: RUF012  # never changed
        redis.asyncio.Connection: Connection,
        redis.asyncio.SSLConnection: SSLConnection,
    }
