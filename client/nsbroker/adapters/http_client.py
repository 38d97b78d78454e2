"""`http.client` in a namespace.

The connections also reconnect in the namespace. With `set_tunnel` they connect to the proxy in the namespace.
"""

from __future__ import annotations

import http.client
import socket
from functools import partial
from typing import Any

from ..module.namespace import Namespace
from ._connect import PROGRAMS_DEFAULT, connect
from ._namespace import InNamespace, NamespaceLike, require


class HTTPConnection(InNamespace, http.client.HTTPConnection):
    """`http.client.HTTPConnection` in a namespace.

    Args:
        namespace: the namespace of the connection and of the look-up.
        args: as for `http.client.HTTPConnection`: host, port, timeout (in seconds), source_address, blocksize.
        kwargs: the same by name.

    Example:
        >>> connection = HTTPConnection("blue", "www.example.org", timeout=5)
        >>> connection.request("GET", "/")
        >>> connection.getresponse().status
        200
    """

    def __init__(self, namespace: NamespaceLike, *args: Any, **kwargs: Any) -> None:
        super().__init__(namespace, *args, **kwargs)
        require(self, "_create_connection")
        self._create_connection = partial(_create_connection, self._namespace)


class HTTPSConnection(HTTPConnection, http.client.HTTPSConnection):
    """`http.client.HTTPSConnection` in a namespace.

    Args:
        namespace: the namespace of the connection and of the look-up.
        args: as for `http.client.HTTPSConnection`: host, port and others.
        kwargs: the same by name, for example timeout (in seconds) and context.

    Example:
        >>> connection = HTTPSConnection("blue", "www.example.org", timeout=5)
        >>> connection.request("GET", "/")
        >>> connection.getresponse().status
        200
    """


def _create_connection(
    namespace: Namespace, address: tuple[str, int], timeout: float | None = PROGRAMS_DEFAULT, source_address: Any = None
) -> socket.socket:
    return connect(namespace, *address, timeout, source_address=source_address)
