"""httpcore in a namespace: the backends that make its connections."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any

import anyio
import httpcore
from anyio.abc import SocketStream
from httpcore._backends.anyio import AnyIOStream
from httpcore._backends.sync import SyncStream

from ..place.options import split_privileged
from . import _anyio_tcp
from ._anyio_tcp import NO_DELAY
from ._connect import connect
from ._namespace import InNamespace
from ._place import hand_over, place_of


class NetworkBackend(InNamespace, httpcore.SyncBackend):
    """A network backend whose connections are in a namespace.

    Args:
        namespace: the namespace of the connections and of the look-ups.

    Example:
        >>> with httpcore.ConnectionPool(network_backend=NetworkBackend("blue")) as pool:
        ...     response = pool.request("GET", "http://www.example.org/")
        >>> response.status
        200
    """

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to a host. httpcore calls this.

        Args:
            host: a name or an address.
            port: the port.
            timeout: seconds (`None`: no limit).
            local_address: the address to bind to, if any.
            socket_options: the arguments of `setsockopt` calls. The broker sets those that need its rights.

        Raises:
            httpcore.ConnectTimeout: no address answered in time.
            httpcore.ConnectError: the look-up or the connection failed.
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


class AsyncNetworkBackend(InNamespace, httpcore.AnyIOBackend):
    """A network backend for asyncio and trio whose connections are in a namespace.

    Args:
        namespace: the namespace of the connections and of the look-ups.

    Example:
        >>> async with httpcore.AsyncConnectionPool(network_backend=AsyncNetworkBackend("blue")) as pool:
        ...     response = await pool.request("GET", "http://www.example.org/")
        >>> response.status
        200
    """

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to a host. httpcore calls this.

        Args:
            host: a name or an address.
            port: the port.
            timeout: seconds (`None`: no limit).
            local_address: the address to bind to, if any.
            socket_options: the arguments of `setsockopt` calls. The broker sets those that need its rights.

        Raises:
            httpcore.ConnectTimeout: no address answered in time.
            httpcore.ConnectError: the look-up or the connection failed.
        """
        privileged, others = split_privileged(socket_options or ())
        place = place_of(self._namespace)
        try:
            with anyio.fail_after(timeout):
                sock = await _anyio_tcp.connect(place, host, port, local_host=local_address, options=privileged)
                stream = await hand_over(sock, _stream(sock, others))
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(str(error)) from error
        except (OSError, anyio.BrokenResourceError) as error:
            raise httpcore.ConnectError(str(error.__cause__ or error)) from error
        return AnyIOStream(stream)


async def _stream(sock: socket.socket, options: Iterable[tuple[Any, ...]]) -> SocketStream:
    for option in options:
        sock.setsockopt(*option)
    return await SocketStream.from_socket(sock)
