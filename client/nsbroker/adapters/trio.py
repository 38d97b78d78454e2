"""trio in a namespace: version 0.26.1 or newer.

    stream = await trio.open_tcp_stream("blue", "www.example.org", 80)

What is built on trio (httpx, anyio, hypercorn) is led into the namespace as a whole by `install`.
"""

from __future__ import annotations

import ssl as _ssl
from typing import TYPE_CHECKING

import trio
import trio.socket

from ..drivers.trio import AsyncClient, run
from ..place.connecting import connect_tcp
from ..place.place import place_of
from ..place.serving import listen_tcp
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
    """Connect a plain non-blocking socket in a namespace; the caller owns it. See `open_tcp_stream`."""
    steps = connect_tcp(
        place_of(namespace),
        host,
        port,
        local_addr=None if local_address is None else (local_address, 0),
        stagger_s=0.25 if happy_eyeballs_delay is None else happy_eyeballs_delay,
    )
    try:
        return await run(steps)
    except ExceptionGroup as group:
        raise _as_trio(group, host, port) from group


def _as_trio(group: ExceptionGroup[OSError], host: str | bytes, port: int) -> OSError:
    """Make what trio raises in place of a group; with the errno, if all have the same."""
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

    Raises:
        socket.gaierror: the namespace's name servers know no such name.
        OSError: as `Client.open` and connect(2).
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
    """Connect in a namespace, as `trio.open_ssl_over_tcp_stream` does; the handshake is done by the first use."""
    stream = await open_tcp_stream(namespace, host, port, happy_eyeballs_delay=happy_eyeballs_delay)
    context = ssl_context or _ssl.create_default_context()
    return trio.SSLStream(stream, context, server_hostname=host, https_compatible=https_compatible)


async def open_tcp_listeners(
    namespace: Namespace | NamespaceRef, port: int, *, host: str | bytes | None = None, backlog: int | None = None
) -> list[trio.SocketListener]:
    """Listen in a namespace, as `trio.open_tcp_listeners` does. The broker binds, so low ports work.

    Raises:
        OSError: as `Client.open`: of several addresses, all are bound or none.
    """
    if isinstance(host, bytes):
        host = host.decode("ascii")
    # trio's own default: as long as the kernel allows.
    sockets = await run(listen_tcp(place_of(namespace), host, port, backlog=0xFFFF if backlog is None else backlog))
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
    """Listen in a namespace and serve for ever, as `trio.serve_tcp` does."""
    listeners = await open_tcp_listeners(namespace, port, host=host, backlog=backlog)
    await trio.serve_listeners(handler, listeners, handler_nursery=handler_nursery, task_status=task_status)


async def getaddrinfo(
    namespace: Namespace | NamespaceRef, host: str | bytes | None, port: int | str | None, *options: int
) -> list[tuple[Any, ...]]:
    """Look up a name in a namespace, as `trio.socket.getaddrinfo` does."""
    found: list[Any] = await run(place_of(namespace).getaddrinfo(host, port, *options))
    return found


async def getnameinfo(namespace: Namespace | NamespaceRef, sockaddr: tuple[Any, ...], flags: int) -> tuple[str, str]:
    """Look up an address in a namespace, as `trio.socket.getnameinfo` does."""
    return await run(place_of(namespace).getnameinfo(sockaddr, flags))
