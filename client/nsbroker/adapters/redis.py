"""redis-py in a namespace."""

from __future__ import annotations

import socket
from typing import Any, Self

import redis

from ._connect import connect
from ._namespace import InNamespace, NamespaceLike, as_namespace, require

__all__ = ["Connection", "ConnectionPool", "SSLConnection"]

require(redis.Connection, "_connect")
require(redis.SSLConnection, "_connect")


def socket_options(connection: Any) -> list[tuple[int, int, Any]]:
    """Return the arguments of the `setsockopt` calls that redis-py makes for a connection."""
    options: list[tuple[int, int, Any]] = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
    if connection.socket_keepalive:
        given = connection.socket_keepalive_options or {}
        options.append((socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1))
        options += [(socket.IPPROTO_TCP, name, value) for name, value in given.items()]
    return options


class Connection(InNamespace, redis.Connection):
    """`redis.Connection` in a namespace. `ConnectionPool` makes it.

    Args:
        namespace: the namespace of the connection and of the look-up.
        kwargs: as for `redis.Connection`.

    Example:
        >>> connection = Connection("blue", host="redis.example.org", socket_timeout=5)
        >>> connection.connect()
        >>> connection.disconnect()
    """

    def _connect(self) -> socket.socket:
        limit_s, family = self.socket_connect_timeout, self.socket_type
        sock = connect(self._namespace, self.host, self.port, limit_s, options=socket_options(self), family=family)
        sock.settimeout(self.socket_timeout)
        return sock


class SSLConnection(redis.SSLConnection, Connection):
    """`redis.SSLConnection` in a namespace. `ConnectionPool` makes it.

    Args:
        namespace: the namespace of the connection and of the look-up.
        kwargs: as for `redis.SSLConnection`.

    Raises:
        ValueError: `ssl_validate_ocsp` or `ssl_validate_ocsp_stapled` is set. For these, redis-py itself connects in
            the program's own namespace.

    Example:
        >>> connection = SSLConnection("blue", host="redis.example.org", port=6380, socket_timeout=5)
        >>> connection.connect()
        >>> connection.disconnect()
    """

    def __init__(self, namespace: NamespaceLike, **kwargs: Any) -> None:
        if kwargs.get("ssl_validate_ocsp") or kwargs.get("ssl_validate_ocsp_stapled"):
            text = "redis-py validates OCSP over sockets of the program's own namespace; leave out ssl_validate_ocsp"
            raise ValueError(f"{text} and ssl_validate_ocsp_stapled")
        super().__init__(namespace=namespace, **kwargs)


class NamespacePool:
    """The part of a pool in a namespace that is the same for `redis` and `redis.asyncio`."""

    _CLASSES: dict[Any, Any]
    """The classes of connections in a namespace, by the library's own classes; the first one is the default."""

    def __init__(self, namespace: NamespaceLike, connection_class: Any = None, **kwargs: Any) -> None:
        own_class = connection_class or next(iter(self._CLASSES))
        if own_class not in self._CLASSES:
            names = " or ".join(f"{known.__module__}.{known.__name__}" for known in self._CLASSES)
            raise TypeError(f"a pool in a namespace has no connections of {own_class}: use {names}")
        super().__init__(self._CLASSES[own_class], namespace=as_namespace(namespace), **kwargs)  # type: ignore[call-arg]  # of the pool that is mixed in

    @classmethod
    def from_url(cls, namespace: NamespaceLike, url: str, **kwargs: Any) -> Self:
        """Return a pool for a URL such as redis://host/0, or rediss://host/0 for TLS."""
        pool: Self = super().from_url(url, namespace=namespace, **kwargs)  # type: ignore[misc]  # of the pool that is mixed in
        return pool


class ConnectionPool(NamespacePool, redis.ConnectionPool):  # type: ignore[misc]  # in from_url, the namespace comes first
    """`redis.ConnectionPool` in a namespace.

    Args:
        namespace: the namespace of the connections and of the look-ups.
        connection_class: `redis.Connection` (the default) or `redis.SSLConnection`.
        kwargs: as for `redis.ConnectionPool`.

    Raises:
        TypeError: another connection_class was given.

    Example:
        >>> with redis.Redis(connection_pool=ConnectionPool("blue", host="redis.example.org")) as client:
        ...     answer = client.ping()
        >>> answer
        True
    """

    _CLASSES = {redis.Connection: Connection, redis.SSLConnection: SSLConnection}  # noqa: RUF012  # never changed
