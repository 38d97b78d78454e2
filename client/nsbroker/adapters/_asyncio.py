"""asyncio's transports over sockets of a namespace, for the functions of `asyncio` and the loops of `_asyncio_loop`.

Each function calls the loop's own method with a ready socket, so that the loop looks up no name and opens no socket.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from ..drivers.asyncio import run
from ..place.connecting import connect_tcp
from ..place.datagrams import numeric_socket, open_udp
from ..place.listening import listen_tcp
from ._asyncio_server import ServerGroup
from ._place import hand_over

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from typing import Any, TypeVar

    from ..place.connecting import LocalAddress
    from ..place.place import Place

    T = TypeVar("T")

    Make = Callable[..., Awaitable[T]]


async def connect(
    place: Place,
    host: str | None,
    port: int | str | None,
    *,
    family: int = 0,
    proto: int = 0,
    flags: int = 0,
    local_addr: LocalAddress | None = None,
    happy_eyeballs_delay: float | None = None,
    interleave: int | None = None,
    all_errors: bool = False,
) -> socket.socket:
    """Connect a socket. Arguments and errors are those of `loop.create_connection`."""
    if interleave is None:
        interleave = 0 if happy_eyeballs_delay is None else 1
    steps = connect_tcp(
        place,
        host,
        port,
        family=family,
        proto=proto,
        flags=flags,
        local_addr=local_addr,
        stagger_s=happy_eyeballs_delay,
        interleave_from=interleave,
    )
    try:
        return await run(steps)
    except ExceptionGroup as group:
        if all_errors:
            raise ExceptionGroup("create_connection failed", group.exceptions) from group
        if len({str(error) for error in group.exceptions}) == 1:
            raise group.exceptions[0] from None
        texts = ", ".join(str(error) for error in group.exceptions)
        raise OSError(f"Multiple exceptions: {texts}") from group


async def create_connection(
    make: Make[T],
    place: Place,
    protocol_factory: Callable[[], Any],
    host: str | None,
    port: int | str | None,
    *,
    ssl: Any = None,
    server_hostname: str | None = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    **how: Any,
) -> T:
    """Connect, and return the result of `make`. `how` has the arguments of `connect`."""
    if server_hostname is not None and not ssl:
        raise ValueError("server_hostname is only meaningful with ssl")
    if ssl and server_hostname is None:
        if not host:
            raise ValueError("You must set server_hostname when using ssl without a host")
        server_hostname = host
    timeouts = _timeouts(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
    sock = await connect(place, host, port, **how)
    return await hand_over(
        sock, make(protocol_factory, sock=sock, ssl=ssl, server_hostname=server_hostname, **timeouts)
    )


async def create_server(
    make: Make[asyncio.Server],
    place: Place,
    protocol_factory: Callable[[], Any],
    host: str | Iterable[str] | None,
    port: int | str | None,
    *,
    family: int = 0,
    flags: int = socket.AI_PASSIVE,
    backlog: int = 100,
    reuse_address: bool | None = None,
    reuse_port: bool | None = None,
    start_serving: bool = True,
    ssl: Any = None,
    ssl_handshake_timeout: float | None = None,
    ssl_shutdown_timeout: float | None = None,
    **options: Any,
) -> asyncio.AbstractServer:
    """Return a server on every address. `options` are other arguments of `loop.create_server`."""
    options |= {"ssl": ssl, **_timeouts(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)}
    sockets = await run(
        listen_tcp(
            place,
            host,
            port,
            family=family,
            flags=flags,
            backlog=backlog,
            reuse_address=reuse_address is not False,
            reuse_port=bool(reuse_port),
        )
    )
    servers: list[asyncio.Server] = []
    try:
        for sock in sockets:
            servers.append(await make(protocol_factory, sock=sock, backlog=backlog, start_serving=False, **options))
        server = servers[0] if len(servers) == 1 else ServerGroup(servers)
        if start_serving:
            await server.start_serving()
    except BaseException:
        for made in servers:
            made.close()
        for sock in sockets[len(servers) :]:
            sock.close()
        raise
    return server


async def create_datagram_endpoint(
    make: Make[T],
    place: Place,
    protocol_factory: Callable[[], Any],
    local_addr: LocalAddress | None = None,
    remote_addr: LocalAddress | None = None,
    *,
    family: int = 0,
    proto: int = 0,
    flags: int = 0,
    reuse_port: bool | None = None,
    allow_broadcast: bool | None = None,
) -> T:
    """Open a UDP socket that sends to numeric addresses only, and return the result of `make`."""
    options = []
    if reuse_port:
        options.append((int(socket.SOL_SOCKET), int(socket.SO_REUSEPORT), 1))
    if allow_broadcast:
        options.append((int(socket.SOL_SOCKET), int(socket.SO_BROADCAST), 1))
    sock = await run(
        open_udp(
            place,
            numeric_socket,
            local_addr=local_addr,
            remote_addr=remote_addr,
            family=family,
            proto=proto,
            flags=flags,
            options=options,
        )
    )
    return await hand_over(sock, make(protocol_factory, sock=sock))


async def resolve(place: Place, sock: socket.socket, address: Sequence[Any]) -> tuple[Any, ...]:
    """Return the first numeric address of a host for a socket."""
    host, port = address[:2]
    found = await run(place.getaddrinfo(host, port, sock.family, sock.type, sock.proto))
    numeric = found[0][4]
    return (*numeric[:2], *address[2:]) if len(address) > 2 and "%" not in str(host) else numeric


def _timeouts(ssl: Any, handshake_s: float | None, shutdown_s: float | None) -> dict[str, float]:
    """Return the given timeouts for TLS as arguments. The errors are asyncio's, before anything is looked up.

    Raises:
        ValueError: there is a timeout, but no TLS.
    """
    timeouts = {"ssl_handshake_timeout": handshake_s, "ssl_shutdown_timeout": shutdown_s}
    given = {name: value for name, value in timeouts.items() if value is not None}
    if given and not ssl:
        raise ValueError(f"{min(given)} is only meaningful with ssl")
    return given
