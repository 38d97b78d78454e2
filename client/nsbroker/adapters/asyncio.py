"""asyncio in a namespace. It is part of Python: there is nothing to install. uvloop's loops do as well.

    reader, writer = await asyncio.open_connection("blue", "www.example.org", 443, ssl=True)
    server = await asyncio.start_server("blue", handle, None, 80)

What uses the running loop, a library for example, is led into the namespace as a whole:

    with asyncio.Runner(loop_factory=loop_factory("blue")) as runner: ...
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..drivers.asyncio import AsyncClient, run
from ..place.place import place_of
from . import _asyncio
from ._asyncio_loop import loop_factory

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Iterable
    from typing import Any, TypeVar

    from ..module.namespace import Namespace
    from ..place.connecting import LocalAddress
    from ..wire.messages import NamespaceRef

    P = TypeVar("P", bound=asyncio.BaseProtocol)

__all__ = [
    "AsyncClient",
    "connect",
    "create_connection",
    "create_datagram_endpoint",
    "create_server",
    "getaddrinfo",
    "getnameinfo",
    "loop_factory",
    "open_connection",
    "start_server",
]

HAPPY_EYEBALLS_DELAY_S = 0.25
"""Source: RFC 8305, section 5. asyncio itself tries one address after the other."""
_LIMIT = 2**16
"""asyncio's own, of bytes that a reader holds."""


async def open_connection(
    namespace: Namespace | NamespaceRef,
    host: str | None,
    port: int | str | None,
    *,
    limit: int = _LIMIT,
    happy_eyeballs_delay: float | None = HAPPY_EYEBALLS_DELAY_S,
    **options: Any,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect in a namespace, as `asyncio.open_connection` does.

    Raises:
        socket.gaierror: the namespace's name servers know no such name.
        OSError: as `Client.open` and connect(2).
    """
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit, loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    options["happy_eyeballs_delay"] = happy_eyeballs_delay
    transport, _ = await create_connection(namespace, lambda: protocol, host, port, **options)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


async def create_connection(
    namespace: Namespace | NamespaceRef,
    protocol_factory: Callable[[], P],
    host: str | None,
    port: int | str | None,
    *,
    happy_eyeballs_delay: float | None = HAPPY_EYEBALLS_DELAY_S,
    **options: Any,
) -> tuple[asyncio.Transport, P]:
    """Connect in a namespace, as `loop.create_connection` does."""
    options["happy_eyeballs_delay"] = happy_eyeballs_delay
    make = asyncio.get_running_loop().create_connection
    return await _asyncio.create_connection(make, place_of(namespace), protocol_factory, host, port, **options)


async def connect(
    namespace: Namespace | NamespaceRef,
    host: str | None,
    port: int | str | None,
    *,
    happy_eyeballs_delay: float | None = HAPPY_EYEBALLS_DELAY_S,
    family: int = 0,
    local_addr: LocalAddress | None = None,
) -> socket.socket:
    """Connect a plain non-blocking socket in a namespace, for libraries that take one; the caller owns it."""
    return await _asyncio.connect(
        place_of(namespace), host, port, family=family, local_addr=local_addr, happy_eyeballs_delay=happy_eyeballs_delay
    )


async def start_server(
    namespace: Namespace | NamespaceRef,
    client_connected_cb: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None] | None],
    host: str | Iterable[str] | None = None,
    port: int | str | None = None,
    *,
    limit: int = _LIMIT,
    **options: Any,
) -> asyncio.Server:
    """Listen in a namespace, as `asyncio.start_server` does. The broker binds, so low ports work.

    Raises:
        OSError: as `Client.open`: of several addresses, all are bound or none.
    """
    loop = asyncio.get_running_loop()

    def make_protocol() -> asyncio.StreamReaderProtocol:
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(limit, loop), client_connected_cb, loop=loop)

    return await create_server(namespace, make_protocol, host, port, **options)


async def create_server(
    namespace: Namespace | NamespaceRef,
    protocol_factory: Callable[[], asyncio.BaseProtocol],
    host: str | Iterable[str] | None = None,
    port: int | str | None = None,
    **options: Any,
) -> asyncio.Server:
    """Listen in a namespace, as `loop.create_server` does."""
    make = asyncio.get_running_loop().create_server
    # With several addresses it is a group, which has all that asyncio.Server documents.
    made: Any = await _asyncio.create_server(make, place_of(namespace), protocol_factory, host, port, **options)
    server: asyncio.Server = made
    return server


async def create_datagram_endpoint(
    namespace: Namespace | NamespaceRef,
    protocol_factory: Callable[[], P],
    local_addr: LocalAddress | None = None,
    remote_addr: LocalAddress | None = None,
    **options: Any,
) -> tuple[asyncio.DatagramTransport, P]:
    """Open a UDP socket in a namespace, as `loop.create_datagram_endpoint` does.

    The transport sends to numeric addresses only: asyncio would look up names in the caller's own namespace.
    """
    make = asyncio.get_running_loop().create_datagram_endpoint
    return await _asyncio.create_datagram_endpoint(
        make, place_of(namespace), protocol_factory, local_addr, remote_addr, **options
    )


async def getaddrinfo(
    namespace: Namespace | NamespaceRef, host: str | bytes | None, port: int | str | None, **options: int
) -> list[tuple[Any, ...]]:
    """Look up a name in a namespace, as `loop.getaddrinfo` does."""
    found: list[Any] = await run(place_of(namespace).getaddrinfo(host, port, **options))
    return found


async def getnameinfo(
    namespace: Namespace | NamespaceRef, sockaddr: tuple[Any, ...], flags: int = 0
) -> tuple[str, str]:
    """Look up an address in a namespace, as `loop.getnameinfo` does."""
    return await run(place_of(namespace).getnameinfo(sockaddr, flags))
