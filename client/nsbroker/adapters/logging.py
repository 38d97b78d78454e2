"""The network handlers of `logging.handlers` in a namespace.

    logging.getLogger().addHandler(SysLogHandler("blue", ("log.example.org", 514)))

A handler looks up its host each time it makes a socket.
"""

from __future__ import annotations

import logging.handlers
import socket
from typing import TYPE_CHECKING

from . import http_client
from ._connect import connect
from ._namespace import as_namespace

if TYPE_CHECKING:
    import http.client
    from typing import Any

    from ..module.namespace import Namespace
    from ..wire.messages import NamespaceRef


class SocketHandler(logging.handlers.SocketHandler):
    """`logging.handlers.SocketHandler(host, port)` in a namespace: over TCP."""

    def __init__(self, namespace: Namespace | NamespaceRef, host: str, port: int) -> None:
        super().__init__(host, port)
        self._namespace = as_namespace(namespace)
        self._host, self._port = host, port

    def makeSocket(self, timeout: float | None = 1) -> socket.socket:  # noqa: N802  # logging's own name
        """Connect; logging calls this, and calls it again for a connection that was lost."""
        return connect(self._namespace, self._host, self._port, timeout)


class DatagramHandler(logging.handlers.DatagramHandler):
    """`logging.handlers.DatagramHandler(host, port)` in a namespace: over UDP."""

    def __init__(self, namespace: Namespace | NamespaceRef, host: str, port: int) -> None:
        super().__init__(host, port)
        self._namespace = as_namespace(namespace)

    def makeSocket(self) -> socket.socket:  # type: ignore[override]  # noqa: N802  # both are logging's own
        """Make a socket for the host's first address; logging calls this."""
        sock, self.address = _datagram_socket(self._namespace, self.host, self.port or 0)
        return sock


class SysLogHandler(logging.handlers.SysLogHandler):
    """`logging.handlers.SysLogHandler(address, facility, socktype)` in a namespace; `address` is (host, port)."""

    def __init__(self, namespace: Namespace | NamespaceRef, address: tuple[str, int], *args: Any, **kw: Any) -> None:
        self._namespace = as_namespace(namespace)
        self._server = address
        super().__init__(address, *args, **kw)

    def createSocket(self) -> None:  # noqa: N802  # logging's own name
        """Make a socket, and connect it when it is of TCP; logging calls this."""
        self.unixsocket = False
        if self.socktype == socket.SOCK_STREAM:
            self.socket: socket.socket = connect(self._namespace, *self._server)
        else:
            self.socktype = socket.SOCK_DGRAM
            self.socket, self.address = _datagram_socket(self._namespace, *self._server)


class HTTPHandler(logging.handlers.HTTPHandler):
    """`logging.handlers.HTTPHandler(host, url, method, secure, credentials, context)` in a namespace."""

    def __init__(self, namespace: Namespace | NamespaceRef, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._namespace = as_namespace(namespace)

    def getConnection(self, host: str, secure: bool) -> http.client.HTTPConnection:  # noqa: N802  # logging's own name
        """Make the connection for one record; logging calls this."""
        if secure:
            return http_client.HTTPSConnection(self._namespace, host, context=self.context)
        return http_client.HTTPConnection(self._namespace, host)


def _datagram_socket(namespace: Namespace, host: str, port: int) -> tuple[socket.socket, Any]:
    family, kind, proto, _, address = namespace.getaddrinfo(host, port, 0, socket.SOCK_DGRAM)[0]
    return namespace.socket(family, kind, proto), address
