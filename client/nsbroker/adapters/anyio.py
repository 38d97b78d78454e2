"""anyio (version 4.10 or newer, which has `from_socket`) in a namespace, on asyncio and on trio."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import anyio
from anyio.abc import ConnectedUDPSocket, SocketListener, SocketStream, UDPSocket
from anyio.streams.stapled import MultiListener
from anyio.streams.tls import TLSStream

from ..drivers.anyio import AsyncClient, run
from ..link.broker import plain_socket
from ..place.datagrams import open_udp
from . import _anyio_tcp
from ._anyio_udp import NamespaceUDPSocket
from ._place import hand_over, place_of

if TYPE_CHECKING:
    import ssl
    from typing import Any

    from ..module.namespace import Namespace
    from ..place.connecting import LocalAddress
    from ..place.place import Place
    from ..wire.messages import NamespaceRef

__all__ = [
    "AsyncClient",
    "connect_tcp",
    "create_connected_udp_socket",
    "create_tcp_listener",
    "create_udp_socket",
    "getaddrinfo",
    "getnameinfo",
]


async def connect_tcp(
    namespace: Namespace | NamespaceRef,
    remote_host: object,
    remote_port: int,
    *,
    local_host: object = None,
    local_port: int | None = None,
    tls: bool = False,
    ssl_context: ssl.SSLContext | None = None,
    tls_standard_compatible: bool = True,
    tls_hostname: str | None = None,
    happy_eyeballs_delay: float = 0.25,
) -> SocketStream | TLSStream:
    """Connect in a namespace, as `anyio.connect_tcp` does.

    Args:
        namespace: a `Namespace`, or an argument for `Namespace`.
        remote_host: a name or an address, as a str or an object of ipaddress.
        remote_port: the port.
        local_host: the address to bind to, if any.
        local_port: the port to bind to, if any.
        tls: use TLS. ssl_context or tls_hostname also switch it on.
        ssl_context: the context (default: trust the authorities of the system).
        tls_standard_compatible: require the peer's close_notify of TLS at the end.
        tls_hostname: the name in the certificate (default: remote_host).
        happy_eyeballs_delay: seconds before the next address is tried as well.

    Raises:
        socket.gaierror: the namespace's name servers don't know the name.
        OSError: as `Client.open` and connect(2).

    Example:
        >>> stream = await connect_tcp("blue", "www.example.org", 443, tls=True, tls_standard_compatible=False)
        >>> stream.extra(anyio.abc.SocketAttribute.remote_address)
        ('10.0.0.1', 443)
        >>> await stream.aclose()
    """
    host = str(remote_host)
    sock = await _anyio_tcp.connect(
        place_of(namespace),
        host,
        remote_port,
        local_host=local_host,
        local_port=local_port,
        happy_eyeballs_delay=happy_eyeballs_delay,
    )
    stream = await hand_over(sock, SocketStream.from_socket(sock))
    if not (tls or tls_hostname or ssl_context):
        return stream
    try:
        return await TLSStream.wrap(
            stream,
            server_side=False,
            hostname=tls_hostname or host,
            ssl_context=ssl_context,
            standard_compatible=tls_standard_compatible,
        )
    except BaseException:
        await anyio.aclose_forcefully(stream)
        raise


async def create_tcp_listener(
    namespace: Namespace | NamespaceRef,
    *,
    local_host: object = None,
    local_port: int = 0,
    family: int = socket.AF_UNSPEC,
    backlog: int = 65536,
    reuse_port: bool = False,
) -> MultiListener[SocketStream]:
    """Listen in a namespace, as `anyio.create_tcp_listener` does. The broker binds, so low ports work.

    Args:
        namespace: a `Namespace`, or an argument for `Namespace`.
        local_host: the address to bind to (`None`: all).
        local_port: the port (0: a free one, the same for all addresses).
        family: the family of the addresses to bind to (`socket.AF_UNSPEC`: all).
        backlog: how many connections may wait in the queue.
        reuse_port: let other sockets bind to the same port, as SO_REUSEPORT does.

    Raises:
        OSError: as `Client.open`. If one of several addresses fails, no address is bound.

    Example:
        >>> listener = await create_tcp_listener("blue", local_host="127.0.0.1", local_port=80)
        >>> await listener.aclose()
    """
    sockets = await _anyio_tcp.listen(
        place_of(namespace), local_host, local_port, family, backlog, reuse_port=reuse_port
    )
    listeners: list[SocketListener] = []
    try:
        for sock in sockets:
            listeners.append(await SocketListener.from_socket(sock))
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return MultiListener(listeners)


async def create_udp_socket(
    namespace: Namespace | NamespaceRef,
    family: int = socket.AF_UNSPEC,
    *,
    local_host: object = None,
    local_port: int = 0,
    reuse_port: bool = False,
) -> UDPSocket:
    """Open a bound UDP socket in a namespace, as `anyio.create_udp_socket` does.

    Args:
        namespace: a `Namespace`, or an argument for `Namespace`.
        family: the family of the socket. You may leave it out if you give local_host.
        local_host: the address to bind to.
        local_port: the port (0: a free one).
        reuse_port: let other sockets bind to the same port, as SO_REUSEPORT does.

    Raises:
        ValueError: neither family nor local_host is given.
        OSError: as `Client.open` and bind(2).

    Example:
        >>> async with await create_udp_socket("blue", socket.AF_INET) as udp:
        ...     await udp.sendto(b"hello", "www.example.org", 53)
    """
    if family == socket.AF_UNSPEC and not local_host:
        raise ValueError('Either "family" or "local_host" must be given')
    place = place_of(namespace)
    local = _any_address(family, local_port)
    if local_host:
        family, local = await _first(place, local_host, local_port, family, flags=_anyio_tcp.PASSIVE)
    sock = await _open_udp(place, family, local, None, reuse_port=reuse_port)
    return NamespaceUDPSocket(await hand_over(sock, UDPSocket.from_socket(sock)), place, sock.family)


async def create_connected_udp_socket(
    namespace: Namespace | NamespaceRef,
    remote_host: object,
    remote_port: int,
    *,
    family: int = socket.AF_UNSPEC,
    local_host: object = None,
    local_port: int = 0,
    reuse_port: bool = False,
) -> ConnectedUDPSocket:
    """Open a connected UDP socket in a namespace, as `anyio.create_connected_udp_socket` does.

    Args:
        namespace: a `Namespace`, or an argument for `Namespace`.
        remote_host: a name or an address, as a str or an object of ipaddress.
        remote_port: the port.
        family: the family of the addresses to use (`socket.AF_UNSPEC`: all).
        local_host: the address to bind to, if any.
        local_port: the port to bind to (0: a free one).
        reuse_port: let other sockets bind to the same port, as SO_REUSEPORT does.

    Raises:
        socket.gaierror: the namespace's name servers don't know the name.
        OSError: as `Client.open` and connect(2).

    Example:
        >>> async with await create_connected_udp_socket("blue", "www.example.org", 53) as udp:
        ...     await udp.send(b"hello")
    """
    place = place_of(namespace)
    local = None
    if local_host:
        family, local = await _first(place, local_host, local_port, family, flags=_anyio_tcp.PASSIVE)
    family, remote = await _first(place, remote_host, remote_port, family)
    if local is None and local_port:
        local = _any_address(family, local_port)
    sock = await _open_udp(place, family, local, remote, reuse_port=reuse_port)
    return await hand_over(sock, ConnectedUDPSocket.from_socket(sock))


async def getaddrinfo(
    namespace: Namespace | NamespaceRef,
    host: str | bytes | None,
    port: int | str | None,
    *,
    family: int = 0,
    type: int = 0,  # noqa: A002  # anyio's own name
    proto: int = 0,
    flags: int = 0,
) -> list[tuple[Any, ...]]:
    """Look up a name in a namespace, as `anyio.getaddrinfo` does.

    Args:
        namespace: a `Namespace`, or an argument for `Namespace`.
        host: a name or an address.
        port: a number, or the name of a service.
        family: AF_INET or AF_INET6, or 0 for both.
        type: SOCK_STREAM or SOCK_DGRAM, or 0 for all.
        proto: a protocol's number, or 0 for all.
        flags: AI_* constants.

    Returns:
        A list of (family, type, proto, canonical name, address). Each address is (host, port), also for IPv6.

    Raises:
        socket.gaierror: the namespace's name servers don't know the name.

    Example:
        >>> for *_, address in await getaddrinfo("blue", "www.example.org", 80, proto=6):
        ...     print(address)
        ('10.0.0.1', 80)
    """
    found = await _anyio_tcp.look_up(place_of(namespace), host, port, family, type, proto, flags)
    return [(*info, _anyio_tcp.two_items(address)) for *info, address in found]


async def getnameinfo(
    namespace: Namespace | NamespaceRef, sockaddr: tuple[Any, ...], flags: int = 0
) -> tuple[str, str]:
    """Look up the names of an address in a namespace, as `anyio.getnameinfo` does.

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


async def _first(
    place: Place, host: object, port: int, family: int, flags: int = 0
) -> tuple[socket.AddressFamily, LocalAddress]:
    """Return the family and the first address of a host for UDP."""
    found = await _anyio_tcp.look_up(place, str(host), port, family=family, type=socket.SOCK_DGRAM, flags=flags)
    return found[0][0], _anyio_tcp.two_items(found[0][4])


def _any_address(family: int, port: int) -> LocalAddress:
    return ("::" if family == socket.AF_INET6 else "0.0.0.0"), port


async def _open_udp(
    place: Place, family: int, local: LocalAddress | None, remote: LocalAddress | None, *, reuse_port: bool
) -> socket.socket:
    options = [(int(socket.SOL_SOCKET), int(socket.SO_REUSEPORT), 1)] if reuse_port else []
    return await run(
        open_udp(place, plain_socket, local_addr=local, remote_addr=remote, family=family, options=options)
    )
