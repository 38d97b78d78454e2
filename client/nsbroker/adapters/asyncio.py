"""asyncio in a namespace. It also works with the loops of uvloop.

The functions take the namespace for one connection or server. If a library uses the running loop, make a loop whose
connections are all in the namespace, by `loop_factory`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..drivers.asyncio import AsyncClient, run
from . import _asyncio
from ._asyncio_loop import loop_factory
from ._place import place_of

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
"""Source: RFC 8305, section 5. asyncio itself waits for one address before it tries the next."""
_LIMIT = 2**16
"""asyncio's own limit for the bytes that a reader buffers."""


async def open_connection(
    namespace: Namespace | NamespaceRef,
    host: str | None,
    port: int | str | None,
    *,
    limit: int = _LIMIT,
    happy_eyeballs_delay: float | None = HAPPY_EYEBALLS_DELAY_S,
    **options: Any,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    r"""Connect in a namespace, as `asyncio.open_connection` does.

    Args:
        namespace: a `Namespace`, or an argument for `Namespace`.
        host: a name or an address.
        port: a number, or the name of a service.
        limit: how many bytes the reader buffers.
        happy_eyeballs_delay: seconds before the next address is tried as well (`None`: try them one by one).
        options: as for `loop.create_connection`, for example ssl, family, local_addr.

    Returns:
        A reader and a writer.

    Raises:
        socket.gaierror: the namespace's name servers don't know the name.
        OSError: as `Client.open` and connect(2).

    Example:
        >>> reader, writer = await open_connection("blue", "www.example.org", 443, ssl=True)
        >>> writer.write(b"GET / HTTP/1.0\r\n\r\n")
        >>> await reader.readline()
        b'HTTP/1.1 200 OK\r\n'
        >>> writer.close()
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
    """Connect in a namespace, as `loop.create_connection` does.

    Args:
        namespace: a `Namespace`, or an argument for `Namespace`.
        protocol_factory: makes the protocol.
        host: a name or an address.
        port: a number, or the name of a service.
        happy_eyeballs_delay: seconds before the next address is tried as well (`None`: try them one by one).
        options: as for `loop.create_connection`, for example ssl, family, local_addr.

    Returns:
        A transport and its protocol.

    Raises:
        socket.gaierror: the namespace's name servers don't know the name.
        OSError: as `Client.open` and connect(2).

    Example:
        >>> transport, protocol = await create_connection("blue", asyncio.Protocol, "www.example.org", 80)
        >>> transport.get_extra_info("peername")
        ('10.0.0.1', 80)
        >>> transport.close()
    """
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
    """Connect a plain non-blocking socket in a namespace, for libraries that take one. The caller owns it.

    Args:
        namespace: a `Namespace`, or an argument for `Namespace`.
        host: a name or an address.
        port: a number, or the name of a service.
        happy_eyeballs_delay: seconds before the next address is tried as well (`None`: try them one by one).
        family: the family of the addresses to try (0: all).
        local_addr: the (host, port) to bind to, if any.

    Raises:
        socket.gaierror: the namespace's name servers don't know the name.
        OSError: as `Client.open` and connect(2).

    Example:
        >>> with await connect("blue", "www.example.org", 80) as sock:
        ...     peer = sock.getpeername()
        >>> peer
        ('10.0.0.1', 80)
    """
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

    Args:
        namespace: a `Namespace`, or an argument for `Namespace`.
        client_connected_cb: called with a reader and a writer for each connection.
        host: the addresses to bind to (`None`: all).
        port: the port (`None` or 0: a free one).
        limit: how many bytes each reader buffers.
        options: as for `loop.create_server`, for example ssl, backlog, reuse_port.

    Raises:
        OSError: as `Client.open`. If one of several addresses fails, no address is bound.

    Example:
        >>> async def handle(reader, writer):
        ...     writer.close()
        >>> server = await start_server("blue", handle, port=80)
        >>> server.is_serving()
        True
        >>> server.close()
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
    """Listen in a namespace, as `loop.create_server` does. The broker binds, so low ports work.

    Args:
        namespace: a `Namespace`, or an argument for `Namespace`.
        protocol_factory: makes the protocol of each connection.
        host: the addresses to bind to (`None`: all).
        port: the port (`None` or 0: a free one).
        options: as for `loop.create_server`, for example ssl, backlog, reuse_port.

    Raises:
        OSError: as `Client.open`. If one of several addresses fails, no address is bound.

    Example:
        >>> server = await create_server("blue", asyncio.Protocol, "127.0.0.1", 80)
        >>> server.sockets[0].getsockname()
        ('127.0.0.1', 80)
        >>> server.close()
    """
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

    The transport sends to numeric addresses only, since asyncio would look up names in the caller's own namespace.

    Args:
        namespace: a `Namespace`, or an argument for `Namespace`.
        protocol_factory: makes the protocol.
        local_addr: the (host, port) to bind to, if any.
        remote_addr: the (host, port) to connect to, if any.
        options: as for `loop.create_datagram_endpoint`, for example family, reuse_port, allow_broadcast.

    Returns:
        A transport and its protocol.

    Raises:
        socket.gaierror: the namespace's name servers don't know a name.
        OSError: as `Client.open`, bind(2) and connect(2).

    Example:
        >>> transport, protocol = await create_datagram_endpoint(
        ...     "blue", asyncio.DatagramProtocol, remote_addr=("www.example.org", 53)
        ... )
        >>> transport.get_extra_info("peername")
        ('10.0.0.1', 53)
        >>> transport.close()
    """
    make = asyncio.get_running_loop().create_datagram_endpoint
    return await _asyncio.create_datagram_endpoint(
        make, place_of(namespace), protocol_factory, local_addr, remote_addr, **options
    )


async def getaddrinfo(
    namespace: Namespace | NamespaceRef, host: str | bytes | None, port: int | str | None, **options: int
) -> list[tuple[Any, ...]]:
    """Look up a name in a namespace, as `loop.getaddrinfo` does.

    Args:
        namespace: a `Namespace`, or an argument for `Namespace`.
        host: a name or an address.
        port: a number, or the name of a service.
        options: family, type, proto, flags.

    Returns:
        A list of (family, type, proto, canonical name, address).

    Raises:
        socket.gaierror: the namespace's name servers don't know the name.

    Example:
        >>> for *_, address in await getaddrinfo("blue", "www.example.org", 80, proto=6):
        ...     print(address)
        ('10.0.0.1', 80)
    """
    found: list[Any] = await run(place_of(namespace).getaddrinfo(host, port, **options))
    return found


async def getnameinfo(
    namespace: Namespace | NamespaceRef, sockaddr: tuple[Any, ...], flags: int = 0
) -> tuple[str, str]:
    """Look up the names of an address in a namespace, as `loop.getnameinfo` does.

    Args:
        namespace: a `Namespace`, or an argument for `Namespace`.
        sockaddr: a numeric address.
        flags: flags such as `socket.NI_NUMERICHOST`.

    Returns:
        The host's name and the service's name.

    Raises:
        socket.gaierror: the flags ask for a name that does not exist.

    Example:
        >>> host, service = await getnameinfo("blue", ("10.0.0.1", 80))
        >>> service
        'http'
    """
    return await run(place_of(namespace).getnameinfo(sockaddr, flags))
