"""redis-py in a namespace.

    with redis.Redis(connection_pool=ConnectionPool("blue", host="redis.example.org")) as client:
        client.ping()

`Connection` and `SSLConnection` are what the pool makes.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import redis

from ._connect import connect
from ._hooks import require
from ._namespace import as_namespace

if TYPE_CHECKING:
    from typing import Any, Self

    from ..module.namespace import Namespace
    from ..wire.messages import NamespaceRef

require(redis.Connection, "_connect")
require(redis.SSLConnection, "_connect")


class Connection(redis.Connection):
    """`redis.Connection` in a namespace."""

    def __init__(self, *, namespace: Namespace | NamespaceRef, **kwargs: Any) -> None:
        self._namespace = as_namespace(namespace)
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]  # redis-py's

    def _connect(self) -> socket.socket:
        options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
        if self.socket_keepalive:
            options.append((socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1))
            options += [(socket.IPPROTO_TCP, name, value) for name, value in self.socket_keepalive_options.items()]
        limit_s = self.socket_connect_timeout
        sock = connect(self._namespace, self.host, self.port, limit_s, options=options, family=self.socket_type)
        sock.settimeout(self.socket_timeout)
        return sock


class SSLConnection(redis.SSLConnection, Connection):
    """`redis.SSLConnection` in a namespace.

    Raises:
        ValueError: with `ssl_validate_ocsp` or `ssl_validate_ocsp_stapled`: redis-py connects for them by itself, in
            the own namespace.
    """

    def __init__(self, **kwargs: Any) -> None:
        if kwargs.get("ssl_validate_ocsp") or kwargs.get("ssl_validate_ocsp_stapled"):
            raise ValueError("redis-py validates OCSP over sockets of the own namespace")
        super().__init__(**kwargs)


_CLASSES: dict[Any, type[Connection]] = {redis.Connection: Connection, redis.SSLConnection: SSLConnection}


class ConnectionPool(redis.ConnectionPool):
    """`redis.ConnectionPool` in a namespace; `connection_class` is `redis.Connection` or `redis.SSLConnection`."""

    def __init__(
        self, namespace: Namespace | NamespaceRef, connection_class: Any = redis.Connection, **kwargs: Any
    ) -> None:
        if connection_class not in _CLASSES:
            raise TypeError(f"no connections of {connection_class} in a namespace")
        super().__init__(_CLASSES[connection_class], namespace=as_namespace(namespace), **kwargs)

    @classmethod
    def from_url(cls, namespace: Namespace | NamespaceRef, url: str, **kwargs: Any) -> Self:  # type: ignore[override]  # the namespace comes first
        """Make a pool for a URL such as redis://host/0, or rediss://host/0 for TLS."""
        return super().from_url(url, namespace=namespace, **kwargs)
