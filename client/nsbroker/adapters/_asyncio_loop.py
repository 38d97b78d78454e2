"""Event loops of asyncio whose connections, servers and look-ups are in a namespace."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import TYPE_CHECKING

from ..drivers.asyncio import run
from ..link.errors import WrongNamespaceError
from . import _asyncio
from ._place import place_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..module.namespace import Namespace
    from ..place.place import Place
    from ..wire.messages import NamespaceRef

    Base = asyncio.AbstractEventLoop
else:
    Base = object

_INET = (socket.AF_INET, socket.AF_INET6)


class NamespaceLoop(Base):
    """Overrides the methods of a loop that make sockets or look up names. Arguments and results are the loop's own.

    A socket that you give as `sock` stays in its own namespace.
    """

    _place: Place

    async def create_connection(
        self, protocol_factory: Callable[[], Any], host: Any = None, port: Any = None, *, sock: Any = None, **how: Any
    ) -> Any:
        """Connect in the namespace."""
        make = super().create_connection
        if sock is not None or (host is None and port is None):
            return await make(protocol_factory, host, port, sock=sock, **how)
        return await _asyncio.create_connection(make, self._place, protocol_factory, host, port, **how)

    async def create_server(
        self, protocol_factory: Callable[[], Any], host: Any = None, port: Any = None, *, sock: Any = None, **how: Any
    ) -> Any:
        """Listen in the namespace. The broker binds."""
        make = super().create_server
        if sock is not None or (host is None and port is None):
            return await make(protocol_factory, host, port, sock=sock, **how)
        return await _asyncio.create_server(make, self._place, protocol_factory, host, port, **how)

    async def create_datagram_endpoint(
        self,
        protocol_factory: Callable[[], Any],
        local_addr: Any = None,
        remote_addr: Any = None,
        *,
        sock: Any = None,
        family: int = 0,
        **how: Any,
    ) -> Any:
        """Open a UDP socket in the namespace."""
        make = super().create_datagram_endpoint
        if sock is not None:
            return await make(protocol_factory, local_addr, remote_addr, sock=sock, family=family, **how)
        if family == socket.AF_UNIX:
            return await make(protocol_factory, local_addr, remote_addr, family=family, **how)
        return await _asyncio.create_datagram_endpoint(
            make, self._place, protocol_factory, local_addr, remote_addr, family=family, **how
        )

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002  # the loop's own name
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        """Look up a name in the namespace."""
        return await run(self._place.getaddrinfo(host, port, family, type, proto, flags))

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> Any:
        """Look up an address in the namespace."""
        return await run(self._place.getnameinfo(sockaddr, flags))

    async def sock_connect(self, sock: Any, address: Any) -> None:
        """Connect a socket of the namespace.

        Raises:
            WrongNamespaceError: the socket is in another namespace.
        """
        if sock.family in _INET:
            if not await run(self._place.has(sock)):
                text = "the socket is in another namespace than the event loop: make it by Namespace.socket"
                raise WrongNamespaceError(errno.EXDEV, text)
            address = await _asyncio.resolve(self._place, sock, address)
        await super().sock_connect(sock, address)

    async def sock_sendto(self, sock: Any, data: Any, address: Any) -> int:
        """Send a datagram. A name in the address is looked up in the namespace."""
        if sock.family in _INET:
            address = await _asyncio.resolve(self._place, sock, address)
        return await super().sock_sendto(sock, data, address)


def loop_factory(
    namespace: Namespace | NamespaceRef, loop_class: type[asyncio.AbstractEventLoop] = asyncio.SelectorEventLoop
) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return a factory of event loops whose connections, servers, datagram endpoints and look-ups are in a namespace.

    A library that makes sockets by the socket module, for example aiohttp's connector, needs its own adapter, since the
    loop's `sock_connect` refuses its sockets.

    Args:
        namespace: a `Namespace`, or an argument for `Namespace`.
        loop_class: the base class of the loops: `asyncio.SelectorEventLoop`, or `uvloop.Loop`.

    Returns:
        An argument for `asyncio.Runner(loop_factory=)`.

    Example:
        >>> with asyncio.Runner(loop_factory=loop_factory("blue")) as runner:
        ...     reader, writer = runner.run(asyncio.open_connection("www.example.org", 80))
        ...     writer.close()
    """
    members = {"_place": place_of(namespace), "__doc__": NamespaceLoop.__doc__}
    made: type[asyncio.AbstractEventLoop] = type("NamespaceEventLoop", (NamespaceLoop, loop_class), members)
    return made
