"""Fills trio's two official hooks for one run of trio: its factory of sockets, and its resolver of names."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import trio
import trio.socket

from ..drivers.thread import run as run_in_thread
from ..drivers.trio import run
from ._place import place_of

if TYPE_CHECKING:
    from typing import Any, Self

    from ..module.namespace import Namespace
    from ..place.place import Place
    from ..wire.messages import NamespaceRef


class SocketFactory(trio.abc.SocketFactory):
    """Makes sockets in a namespace. Unix sockets are ordinary ones, since no namespace has their paths.

    trio asks for sockets without `await`, so the whole run waits for the broker, at most for its timeout. If that is
    too long, use `open_tcp_stream` and `open_tcp_listeners`, which never block the run.
    """

    def __init__(self, place: Place) -> None:
        self._place = place

    def socket(self, family: int = socket.AF_INET, type: int = socket.SOCK_STREAM, proto: int = 0) -> Any:  # noqa: A002  # trio's own name
        """Return a new socket. trio calls this."""
        if family == socket.AF_UNIX:
            return trio.socket.from_stdlib_socket(socket.socket(family, type, proto))
        return trio.socket.from_stdlib_socket(run_in_thread(self._place.open_one(family, type, proto)))


class HostnameResolver(trio.abc.HostnameResolver):
    """Looks up names in a namespace. trio calls it."""

    def __init__(self, place: Place) -> None:
        self._place = place

    async def getaddrinfo(
        self,
        host: bytes | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,  # noqa: A002  # trio's own name
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """Look up a name."""
        return await run(self._place.getaddrinfo(host, port, family, type, proto, flags))

    async def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int) -> tuple[str, str]:
        """Look up an address."""
        return await run(self._place.getnameinfo(sockaddr, flags))


class Installed:
    """The installed hooks, until `remove` or the end of a `with` block. Then the earlier hooks are back."""

    def __init__(self, place: Place) -> None:
        self._factory = trio.socket.set_custom_socket_factory(SocketFactory(place))
        self._resolver = trio.socket.set_custom_hostname_resolver(HostnameResolver(place))

    def remove(self) -> None:
        """Restore the earlier hooks."""
        trio.socket.set_custom_socket_factory(self._factory)
        trio.socket.set_custom_hostname_resolver(self._resolver)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def install(namespace: Namespace | NamespaceRef) -> Installed:
    """Put every socket and every look-up of this run of trio into a namespace, for good or for a `with` block.

    trio itself turns `%interface` of an IPv6 address into a number, in the caller's own namespace.

    Args:
        namespace: a `Namespace`, or an argument for `Namespace`.

    Returns:
        The installed hooks. Use them as a context manager, or undo them by `remove`.

    Example:
        >>> with install("blue"):
        ...     stream = await trio.open_tcp_stream("www.example.org", 80)
        >>> await stream.aclose()
    """
    return Installed(place_of(namespace))
