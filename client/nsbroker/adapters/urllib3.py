"""urllib3 in a namespace."""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping
from typing import Any

import urllib3
import urllib3.connection
import urllib3.exceptions
from urllib3.util.connection import allowed_gai_family

from ..module.namespace import Namespace
from ._connect import PROGRAMS_DEFAULT, connect
from ._namespace import NamespaceLike, as_namespace, require

__all__ = ["PoolManager", "ProxyManager", "pool_classes"]

if hasattr(urllib3, "AsyncPoolManager"):
    raise ImportError(
        "this urllib3 is urllib3-future, which niquests installs over it: it makes its sockets in a way of its own, so "
        "they can't be kept in a namespace; use nsbroker.patch, or install niquests in another environment"
    )
for _owner in (urllib3.connection.HTTPConnection, urllib3.connection.HTTPSConnection):
    require(_owner, "_new_conn")
require(urllib3.PoolManager(), "pool_classes_by_scheme")


class _Connection(urllib3.connection.HTTPConnection):
    """Overrides `_new_conn`, where connections of both schemes make their sockets."""

    _namespace: Namespace

    def _new_conn(self) -> socket.socket:
        try:
            sock = connect(
                self._namespace,
                self._dns_host.strip("[]"),
                self.port or self.default_port,
                self.timeout if isinstance(self.timeout, int | float | None) else PROGRAMS_DEFAULT,
                source_address=self.source_address,
                options=self.socket_options or (),
                family=allowed_gai_family(),
            )
        except socket.gaierror as error:
            raise urllib3.exceptions.NameResolutionError(self.host, self, error) from error
        except UnicodeError:
            raise urllib3.exceptions.LocationParseError(f"{self.host!r}, label empty or too long") from None
        except TimeoutError as error:
            text = f"Connection to {self.host} timed out. (connect timeout={self.timeout})"
            raise urllib3.exceptions.ConnectTimeoutError(self, text) from error
        except OSError as error:
            text = f"Failed to establish a new connection: {error}"
            raise urllib3.exceptions.NewConnectionError(self, text) from error
        sys.audit("http.client.connect", self, self.host, self.port)
        return sock


def pools_inside(
    namespace: NamespaceLike, pools: Mapping[str, type[urllib3.HTTPConnectionPool]]
) -> dict[str, type[urllib3.HTTPConnectionPool]]:
    """Return a class for each class of pools, by its scheme, whose connections are in a namespace."""
    own = {"_namespace": as_namespace(namespace)}
    made = {}
    for scheme, pool in pools.items():
        connection = type(pool.ConnectionCls.__name__, (_Connection, pool.ConnectionCls), own)
        made[scheme] = type(pool.__name__, (pool,), {"ConnectionCls": connection})
    return made


def pool_classes(namespace: NamespaceLike) -> dict[str, type[urllib3.HTTPConnectionPool]]:
    """Return a value for `PoolManager.pool_classes_by_scheme`: pools whose connections are in a namespace.

    Args:
        namespace: the namespace of the connections and of the look-ups.

    Example:
        >>> manager = urllib3.PoolManager()
        >>> manager.pool_classes_by_scheme = pool_classes("blue")
        >>> manager.request("GET", "http://www.example.org/", timeout=5).status
        200
    """
    return pools_inside(namespace, {"http": urllib3.HTTPConnectionPool, "https": urllib3.HTTPSConnectionPool})


class _Pools(urllib3.PoolManager):
    def __init__(self, namespace: NamespaceLike, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pool_classes_by_scheme = pool_classes(namespace)


class PoolManager(_Pools):
    """`urllib3.PoolManager` in a namespace.

    Args:
        namespace: the namespace of the connections and of the look-ups.
        args: as for `urllib3.PoolManager`.
        kwargs: the same by name. The broker sets those of the `socket_options` that need its rights, such as SO_MARK.

    Example:
        >>> http = PoolManager("blue")
        >>> http.request("GET", "https://www.example.org/", timeout=5).status
        200
    """


class ProxyManager(_Pools, urllib3.ProxyManager):
    """`urllib3.ProxyManager` for a proxy in a namespace. The proxy itself looks up the names behind it.

    Args:
        namespace: the namespace of the connections to the proxy.
        args: as for `urllib3.ProxyManager`: proxy_url and others.
        kwargs: the same by name.

    Example:
        >>> http = ProxyManager("blue", "http://www.example.org:3128/")
        >>> http.request("GET", "http://www.example.org/", timeout=5).status
        200
    """
