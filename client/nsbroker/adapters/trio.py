"""trio (version 0.26.1 or newer) in a namespace.

The functions take the namespace for one connection or server. For a library that is built on trio (httpx, anyio,
hypercorn), put the whole run of trio into the namespace by `install`.
"""

from __future__ import annotations

import ssl as _ssl
from typing import TYPE_CHECKING

import trio
import trio.socket

from ..drivers.trio import AsyncClient, run
from ..place.connecting import connect_tcp
from ..place.listening import listen_tcp
from ._place import idna_2008, place_of
from ._trio_hooks import install

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable
    from typing import Any

    from ..module.namespace import Namespace
    from ..wire.messages import NamespaceRef

__all__ = [
    "AsyncClient",
    "connect",
    "getaddrinfo",
    "getnameinfo",
    "install",
    "open_ssl_over_tcp_stream",
    "open_tcp_listeners",
    "open_tcp_stream",
    "serve_tcp",
]


async def connect(
    namespace: Namespace | NamespaceRef,
    host: str | bytes,
    port: int,
    *,
    happy_eyeballs_delay: float | None = 0.25,
    local_address: str | None = None,
) -> socket.socket:
    """Connect a plain non-blocking socket in a namespace, for libraries that take one. The caller owns it.

    Args:
        namespace: a `Namespace`, or an argument for `Namespace`.
        host: a name or an address.
        port: the port.
        happy_eyeballs_delay: seconds before the next address is tried as well (`None`: 0.25).
        local_address: the address to bind to, if any.

    Raises:
        socket.gaierror: the namespace's name servers don't know the name.
        OSError: as `Client.open` and connect(2).

    Example:
        >>> with await connect("blue", "www.example.org", 80) as sock:
        ...     peer = sock.getpeername()
        >>> peer
        ('10.0.0.1', 80)
    """
    steps = connect_tcp(
        place_of(namespace),
        idna_2008(host),
        port,
        local_addr=None if local_address is None else (local_address, 0),
        stagger_s=0.25 if happy_eyeballs_delay is None else happy_eyeballs_delay,
    )
    try:
        return await run(steps)
    except ExceptionGroup as group:
        raise _as_trio(group, host, port) from group


def _as_trio(group: ExceptionGroup[OSError], host: str | bytes, port: int) -> OSError:
    """Return the error that trio raises instead of a group. It has the errno if all errors have the same one."""
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
    text = f"all attempts to connect to {f'[{name}]' if ':' in name else name}:{port} failed"
    numbers = {getattr(error, "errno", None) for error in group.exceptions}
    number = numbers.pop() if len(numbers) == 1 else None
    return OSError(text) if number is None else OSError(number, text)


async def open_tcp_stream(
    namespace: Namespace | NamespaceRef,
    host: str | bytes,
    port: int,
    *,
    happy_eyeballs_delay: float | None = 0.25,
    local_address: str | None = None,
) -> trio.SocketStream:
    """Connect in a namespace, as `trio.open_tcp_stream` does, with happy eyeballs.

    Args:
        namespace: a `Namespace`, or an argument for `Namespace`.
        host: a name or an address.
        port: the port.
        happy_eyeballs_delay: seconds before the next address is tried as well (`None`: 0.25).
        local_address: the address to bind to, if any.

    Raises:
        socket.gaierror: the namespace's name servers don't know the name.
        OSError: as `Client.open` and connect(2).

    Example:
        >>> stream = await open_tcp_stream("blue", "www.example.org", 80)
        >>> await stream.aclose()
    """
    sock = await connect(namespace, host, port, happy_eyeballs_delay=happy_eyeballs_delay, local_address=local_address)
    return trio.SocketStream(trio.socket.from_stdlib_socket(sock))


async def open_ssl_over_tcp_stream(
    namespace: Namespace | NamespaceRef,
    host: str | bytes,
    port: int,
    *,
    https_compatible: bool = False,
    ssl_context: _ssl.SSLContext | None = None,
    happy_eyeballs_delay: float | None = 0.25,
) -> trio.SSLStream[trio.SocketStream]:
    """Connect in a namespace, as `trio.open_ssl_over_tcp_stream` does. The first use makes the handshake.

    Args:
        namespace: a `Namespace`, or an argument for `Namespace`.
        host: a name or an address, which the certificate must have.
        port: the port.
        https_compatible: don't wait for the peer's close_notify of TLS.
        ssl_context: the context (default: trust the authorities of the system).
        happy_eyeballs_delay: seconds before the next address is tried as well (`None`: 0.25).

    Raises:
        socket.gaierror: the namespace's name servers don't know the name.
        OSError: as `Client.open` and connect(2).

    Example:
        >>> stream = await open_ssl_over_tcp_stream("blue", "www.example.org", 443)
        >>> await stream.do_handshake()
        >>> await stream.aclose()
    """
    stream = await open_tcp_stream(namespace, host, port, happy_eyeballs_delay=happy_eyeballs_delay)
    context = ssl_context or _ssl.create_default_context()
    return trio.SSLStream(stream, context, server_hostname=host, https_compatible=https_compatible)


async def open_tcp_listeners(
    namespace: Namespace | NamespaceRef, port: int, *, host: str | bytes | None = None, backlog: int | None = None
) -> list[trio.SocketListener]:
    """Listen in a namespace, as `trio.open_tcp_listeners` does. The broker binds, so low ports work.

    Args:
        namespace: a `Namespace`, or an argument for `Namespace`.
        port: the port (0: a free one).
        host: the address to bind to (`None`: all).
        backlog: how many connections may wait in the queue (`None`: as many as the kernel allows).

    Raises:
        OSError: as `Client.open`. If one of several addresses fails, no address is bound.

    Example:
        >>> [listener] = await open_tcp_listeners("blue", 80, host="127.0.0.1")
        >>> await listener.aclose()
    """
    encoded = idna_2008(host)
    name = encoded.decode("ascii") if isinstance(encoded, bytes) else encoded
    # trio's own default: as long as the kernel allows.
    sockets = await run(listen_tcp(place_of(namespace), name, port, backlog=0xFFFF if backlog is None else backlog))
    return [trio.SocketListener(trio.socket.from_stdlib_socket(sock)) for sock in sockets]


async def serve_tcp(
    namespace: Namespace | NamespaceRef,
    handler: Callable[[trio.SocketStream], Awaitable[object]],
    port: int,
    *,
    host: str | bytes | None = None,
    backlog: int | None = None,
    handler_nursery: trio.Nursery | None = None,
    task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Listen in a namespace and serve forever, as `trio.serve_tcp` does. The broker binds, so low ports work.

    Args:
        namespace: a `Namespace`, or an argument for `Namespace`.
        handler: called with a stream for each connection.
        port: the port (0: a free one).
        host: the address to bind to (`None`: all).
        backlog: how many connections may wait in the queue (`None`: as many as the kernel allows).
        handler_nursery: the nursery of the handlers, if not a new one.
        task_status: for `nursery.start`, which then returns the listeners.

    Raises:
        OSError: as `Client.open`. If one of several addresses fails, no address is bound.

    Example:
        >>> async def handle(stream):
        ...     await stream.send_all(b"hello")
        >>> async with trio.open_nursery() as nursery:
        ...     listeners = await nursery.start(serve_tcp, "blue", handle, 80)
        ...     nursery.cancel_scope.cancel()
    """
    listeners = await open_tcp_listeners(namespace, port, host=host, backlog=backlog)
    await trio.serve_listeners(handler, listeners, handler_nursery=handler_nursery, task_status=task_status)


async def getaddrinfo(
    namespace: Namespace | NamespaceRef,
    host: str | bytes | None,
    port: int | str | bytes | None,
    family: int = 0,
    type: int = 0,  # noqa: A002  # trio's own name
    proto: int = 0,
    flags: int = 0,
) -> list[tuple[Any, ...]]:
    """Look up a name in a namespace, as `trio.socket.getaddrinfo` does.

    Args:
        namespace: a `Namespace`, or an argument for `Namespace`.
        host: a name or an address.
        port: a number, or the name of a service.
        family: AF_INET or AF_INET6, or 0 for both.
        type: SOCK_STREAM or SOCK_DGRAM, or 0 for all.
        proto: a protocol's number, or 0 for all.
        flags: AI_* constants.

    Returns:
        A list of (family, type, proto, canonical name, address).

    Raises:
        socket.gaierror: the namespace's name servers don't know the name.

    Example:
        >>> for *_, address in await getaddrinfo("blue", "www.example.org", 80, 0, trio.socket.SOCK_STREAM):
        ...     print(address)
        ('10.0.0.1', 80)
    """
    found: list[Any] = await run(place_of(namespace).getaddrinfo(idna_2008(host), port, family, type, proto, flags))
    return found


async def getnameinfo(namespace: Namespace | NamespaceRef, sockaddr: tuple[Any, ...], flags: int) -> tuple[str, str]:
    """Look up the names of an address in a namespace, as `trio.socket.getnameinfo` does.

    Args:
        namespace: a `Namespace`, or an argument for `Namespace`.
        sockaddr: a numeric address.
        flags: flags such as `socket.NI_NUMERICHOST` (0: none).

    Returns:
        The host's name and the service's name.

    Raises:
        socket.gaierror: the flags ask for a name that does not exist.

    Example:
        >>> host, service = await getnameinfo("blue", ("10.0.0.1", 80), 0)
        >>> service
        'http'
    """
    return await run(place_of(namespace).getnameinfo(sockaddr, flags))
