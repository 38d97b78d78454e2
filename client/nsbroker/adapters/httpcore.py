"""httpcore in a namespace: the backends that make its connections.

    with httpcore.ConnectionPool(network_backend=NetworkBackend("blue")) as pool: ...

`AsyncNetworkBackend` is for asyncio and trio.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import anyio
import httpcore
from anyio.abc import SocketAttribute
from httpcore._backends.anyio import AnyIOStream
from httpcore._backends.sync import SyncStream

from ._connect import connect
from ._namespace import as_namespace
from .anyio import connect_tcp

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from ..module.namespace import Namespace
    from ..wire.messages import NamespaceRef

NO_DELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
"""httpcore sets this on every connection."""


class NetworkBackend(httpcore.SyncBackend):
    """What makes httpcore's connections, in a namespace."""

    def __init__(self, namespace: Namespace | NamespaceRef) -> None:
        self._namespace = as_namespace(namespace)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to a host.

        Raises:
            httpcore.ConnectTimeout, httpcore.ConnectError: it failed.
        """
        options = (*(socket_options or ()), NO_DELAY)
        source_address = (local_address, 0) if local_address else None
        try:
            sock = connect(self._namespace, host, port, timeout, source_address=source_address, options=options)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        return SyncStream(sock)


class AsyncNetworkBackend(httpcore.AnyIOBackend):
    """What makes httpcore's connections in asyncio and trio, in a namespace."""

    def __init__(self, namespace: Namespace | NamespaceRef) -> None:
        self._namespace = as_namespace(namespace)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to a host.

        Raises:
            httpcore.ConnectTimeout, httpcore.ConnectError: it failed.
        """
        try:
            with anyio.fail_after(timeout):
                stream = await connect_tcp(self._namespace, host, port, local_host=local_address)
            sock = stream.extra(SocketAttribute.raw_socket)  # noqa: S610  # not Django's
            for option in (*(socket_options or ()), NO_DELAY):
                sock.setsockopt(*option)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(str(error)) from error
        except (OSError, anyio.BrokenResourceError) as error:
            raise httpcore.ConnectError(str(error.__cause__ or error)) from error
        return AnyIOStream(stream)
