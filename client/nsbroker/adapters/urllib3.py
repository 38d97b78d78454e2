"""urllib3 in a namespace.

    http = PoolManager("blue")
    http.request("GET", "https://www.example.org/")

`ProxyManager` reaches the proxy in the namespace.
"""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING

import urllib3
import urllib3.connection
import urllib3.exceptions
from urllib3.util.connection import allowed_gai_family

from ._connect import PROGRAMS_DEFAULT, connect
from ._hooks import require
from ._namespace import as_namespace

if TYPE_CHECKING:
    from typing import Any

    from ..module.namespace import Namespace
    from ..wire.messages import NamespaceRef

for _owner in (urllib3.connection.HTTPConnection, urllib3.connection.HTTPSConnection):
    require(_owner, "_new_conn")
require(urllib3.PoolManager(), "pool_classes_by_scheme")


class _Connection(urllib3.connection.HTTPConnection):
    """What both kinds of connections have: `_new_conn`, where urllib3 makes their sockets."""

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


def pool_classes(namespace: Namespace | NamespaceRef) -> dict[str, type[urllib3.HTTPConnectionPool]]:
    """Make what `PoolManager.pool_classes_by_scheme` is set to: the pools whose connections are in a namespace."""

    class HTTPConnection(_Connection):
        _namespace = as_namespace(namespace)

    class HTTPSConnection(_Connection, urllib3.connection.HTTPSConnection):
        _namespace = HTTPConnection._namespace

    class HTTPConnectionPool(urllib3.HTTPConnectionPool):
        ConnectionCls = HTTPConnection

    class HTTPSConnectionPool(urllib3.HTTPSConnectionPool):
        ConnectionCls = HTTPSConnection

    return {"http": HTTPConnectionPool, "https": HTTPSConnectionPool}


class PoolManager(urllib3.PoolManager):
    """`urllib3.PoolManager` in a namespace."""

    def __init__(self, namespace: Namespace | NamespaceRef, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pool_classes_by_scheme = pool_classes(namespace)


class ProxyManager(urllib3.ProxyManager):
    """`urllib3.ProxyManager`, for a proxy in a namespace; what lies behind it is the proxy's to find."""

    def __init__(self, namespace: Namespace | NamespaceRef, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pool_classes_by_scheme = pool_classes(namespace)
