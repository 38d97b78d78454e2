"""The network handlers of `logging.handlers` in a namespace.

A handler looks up its host each time it makes a socket.
"""

from __future__ import annotations

import http.client
import logging.handlers
import socket
from typing import Any

from ..module.namespace import Namespace
from . import http_client
from ._connect import connect
from ._namespace import InNamespace, NamespaceLike, as_namespace


class SocketHandler(InNamespace, logging.handlers.SocketHandler):
    """`logging.handlers.SocketHandler`, over TCP, in a namespace.

    Args:
        namespace: the namespace of the connection and of the look-up.
        args: as for `logging.handlers.SocketHandler`: host, port.
        kwargs: the same by name.

    Example:
        >>> logging.getLogger("audit").addHandler(SocketHandler("blue", "log.example.org", 9020))
    """

    def makeSocket(self, timeout: float = 1) -> socket.socket:  # noqa: N802  # logging's own name
        """Connect. logging calls this, also after the connection was lost."""
        if self.port is None:
            return super().makeSocket(timeout)  # The host is the path of a Unix socket.
        return connect(self._namespace, self.host, self.port, timeout)


class DatagramHandler(InNamespace, logging.handlers.DatagramHandler):
    """`logging.handlers.DatagramHandler`, over UDP, in a namespace.

    Args:
        namespace: the namespace of the socket and of the look-up.
        args: as for `logging.handlers.DatagramHandler`: host, port.
        kwargs: the same by name.

    Example:
        >>> logging.getLogger("audit").addHandler(DatagramHandler("blue", "log.example.org", 9020))
    """

    def makeSocket(self) -> socket.socket:  # type: ignore[override]  # noqa: N802  # both are logging's own
        """Make a socket for the first address of the host. logging calls this."""
        if self.port is None:
            return super().makeSocket()
        sock, self.address = _datagram_socket(self._namespace, self.host, self.port)
        return sock


class SysLogHandler(logging.handlers.SysLogHandler):
    """`logging.handlers.SysLogHandler` in a namespace.

    Args:
        namespace: the namespace of the socket and of the look-up.
        address: (host, port) of the server, or the path of a Unix socket.
        args: as for `logging.handlers.SysLogHandler`: facility, socktype.
        kwargs: the same by name.

    Example:
        >>> logging.getLogger("audit").addHandler(SysLogHandler("blue", ("log.example.org", 514)))
    """

    def __init__(
        self, namespace: NamespaceLike, address: tuple[str, int] | str = ("localhost", 514), *args: Any, **kwargs: Any
    ) -> None:
        self._namespace = as_namespace(namespace)
        self._server = address
        super().__init__(address, *args, **kwargs)

    def createSocket(self) -> None:  # noqa: N802  # logging's own name
        """Make a socket, and connect it if it is one of TCP. logging calls this."""
        self.unixsocket = False
        if isinstance(self._server, str):
            super().createSocket()
        elif self.socktype == socket.SOCK_STREAM:
            self.socket: socket.socket = connect(self._namespace, *self._server)
        else:
            self.socktype = socket.SOCK_DGRAM
            self.socket, self.address = _datagram_socket(self._namespace, *self._server)


class HTTPHandler(InNamespace, logging.handlers.HTTPHandler):
    """`logging.handlers.HTTPHandler` in a namespace.

    Args:
        namespace: the namespace of the connections and of the look-ups.
        args: as for `logging.handlers.HTTPHandler`: host, url, method, secure, credentials, context.
        kwargs: the same by name.

    Example:
        >>> logging.getLogger("audit").addHandler(HTTPHandler("blue", "www.example.org", "/log"))
    """

    def getConnection(self, host: str, secure: bool) -> http.client.HTTPConnection:  # noqa: N802  # logging's own name
        """Return a new connection for one record. logging calls this."""
        if secure:
            return http_client.HTTPSConnection(self._namespace, host, context=self.context)
        return http_client.HTTPConnection(self._namespace, host)


def _datagram_socket(namespace: Namespace, host: str, port: int) -> tuple[socket.socket, Any]:
    family, socket_type, proto, _, address = namespace.getaddrinfo(host, port, 0, socket.SOCK_DGRAM)[0]
    return namespace.socket(family, socket_type, proto), address
