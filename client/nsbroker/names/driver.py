"""The driver for programs that wait: runs the steps of `stepping` in the thread that asks."""

from __future__ import annotations

from ..link.waiting import run
from . import stepping

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from ..link.waiting import Steps
    from .addrinfo import AddressInfo
    from .sources import ResolverFiles

    OpenSocket: TypeAlias = Callable[[int, int], socket.socket]


class Resolver:
    """The look-ups of one namespace, for any number of threads.

    Args:
        open_socket: opens a socket of a family and a type in the namespace.
        read_files: gets the namespace's files from the broker.
        namespace: the namespace's name for errors, or "".
    """

    def __init__(self, open_socket: OpenSocket, read_files: Callable[[], ResolverFiles], namespace: str = "") -> None:
        def open_steps(family: int, kind: int) -> Steps[socket.socket]:
            yield from ()
            sock = open_socket(family, kind)
            sock.setblocking(False)
            return sock

        def read_steps() -> Steps[ResolverFiles]:
            yield from ()
            return read_files()

        self._resolver = stepping.Resolver(open_steps, read_steps, namespace)

    def getaddrinfo(
        self,
        host: str | bytes | None,
        port: int | str | bytes | None,
        family: int = 0,
        type: int = 0,  # noqa: A002  # the socket module's own name
        proto: int = 0,
        flags: int = 0,
    ) -> list[AddressInfo]:
        """Find addresses as `socket.getaddrinfo` does, but in the namespace; see `addrinfo`."""
        return run(self._resolver.getaddrinfo(host, port, family, type, proto, flags))

    def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int) -> tuple[str, str]:
        """Find names as `socket.getnameinfo` does, but in the namespace; see `nameinfo`."""
        return run(self._resolver.getnameinfo(sockaddr, flags))
