"""anyio's UDP socket, but it looks up destinations in the namespace. trio would look in the caller's own namespace."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from anyio.abc import UDPSocket

from ..drivers.anyio import run
from ._place import idna_2008

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from anyio.abc import UDPPacketType

    from ..place.place import Place


class NamespaceUDPSocket(UDPSocket):
    """A UDP socket of a namespace."""

    def __init__(self, inner: UDPSocket, place: Place, family: int) -> None:
        self._inner = inner
        self._place = place
        self._family = family

    @property
    def _raw_socket(self) -> socket.socket:
        return self._inner._raw_socket

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """The attributes of the socket."""
        return self._inner.extra_attributes

    async def receive(self) -> UDPPacketType:
        """Receive a datagram: (data, (host, port))."""
        return await self._inner.receive()

    async def send(self, item: UDPPacketType) -> None:
        """Send a datagram: (data, (host, port)).

        Raises:
            socket.gaierror: the namespace's name servers don't know the name.
        """
        data, (host, port) = item
        try:
            socket.inet_pton(self._family, host)
        except OSError:
            found = await run(self._place.getaddrinfo(idna_2008(host), port, self._family, socket.SOCK_DGRAM))
            host = found[0][4][0]
        await self._inner.send((data, (host, port)))

    async def aclose(self) -> None:
        """Close the socket."""
        await self._inner.aclose()
