"""`http.client` in a namespace.

    connection = HTTPSConnection("blue", "www.example.org", timeout=5)
    connection.request("GET", "/")

The connections also make their reconnects and, for `set_tunnel`, the connection to the proxy in the namespace.
"""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING

from ._connect import PROGRAMS_DEFAULT, connect
from ._hooks import require
from ._namespace import as_namespace

if TYPE_CHECKING:
    import socket
    from typing import Any

    from ..module.namespace import Namespace
    from ..wire.messages import NamespaceRef


def _stay_inside(connection: http.client.HTTPConnection, namespace: Namespace) -> None:
    def create_connection(
        address: tuple[str, int],
        timeout: float | None = PROGRAMS_DEFAULT,
        source_address: tuple[str, int] | None = None,
    ) -> socket.socket:
        return connect(namespace, *address, timeout, source_address=source_address)

    require(connection, "_create_connection")
    connection._create_connection = create_connection  # type: ignore[attr-defined]  # private, and what connect() calls


class HTTPConnection(http.client.HTTPConnection):
    """`http.client.HTTPConnection(host, port, timeout, source_address, blocksize)` in a namespace."""

    def __init__(self, namespace: Namespace | NamespaceRef, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _stay_inside(self, as_namespace(namespace))


class HTTPSConnection(http.client.HTTPSConnection):
    """`http.client.HTTPSConnection(host, port, timeout, ..., context)` in a namespace."""

    def __init__(self, namespace: Namespace | NamespaceRef, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _stay_inside(self, as_namespace(namespace))
