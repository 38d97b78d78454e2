"""`Place`: the sockets and the names of one namespace. This is the one implementation, which each driver runs."""

from __future__ import annotations

import socket

from ..link.broker import plain_socket
from ..link.identity import kind_of
from ..link.proof import netns_cookie
from ..names.numeric import numeric_stream
from ..wire.messages import NamespaceRef, SocketSpec
from ..wire.record import make_record
from .binding import open_sockets
from .kernel_errors import REFUSALS, kernel_error
from .options import NO_OPTIONS, AtBirth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TypeVar

    from ..link.broker import Broker
    from ..link.waiting import Waiting
    from ..names.files.configuration import Configuration
    from ..names.numeric import AddressInfo, SocketAddress
    from ..names.resolver import Resolver
    from ..wire.messages import ResolverFiles

    S = TypeVar("S", bound=socket.SocketType)

_NONBLOCK = int(socket.SOCK_NONBLOCK)
_FAMILIES = (int(socket.AF_INET), int(socket.AF_INET6), int(socket.AF_PACKET))
"""The families that have options from birth."""
_INET, _STREAM = int(socket.AF_INET), int(socket.SOCK_STREAM)


class Place:
    """A namespace, as one broker makes sockets in it.

    Args:
        broker: the way to the broker.
        namespace: as in `SocketSpec`.
        wait_s: seconds, up to 60, that a call waits for the namespace to exist.
        at_birth: options of every socket.
        stock: the most sockets of one request that are kept ready, or 0.

    Raises:
        ValueError: the mark is out of range.
    """

    def __init__(
        self,
        broker: Broker,
        namespace: NamespaceRef,
        wait_s: float = 0,
        at_birth: AtBirth = NO_OPTIONS,
        stock: int = 0,
    ) -> None:
        self._broker = broker
        self.namespace = namespace
        self.at_birth = at_birth
        self._wait_s = wait_s
        self.stock = stock
        self._options = {family: options for family in _FAMILIES if (options := at_birth.of(family))}
        self._resolver: Resolver | None = None

    def spec(self, family: int, type: int, proto: int = 0) -> SocketSpec:  # noqa: A002  # the socket module's own name
        """Return the spec of a non-blocking socket."""
        return self.blocking_spec(int(family), int(type) | _NONBLOCK, int(proto))

    def blocking_spec(self, family: int, type: int, proto: int = 0) -> SocketSpec:  # noqa: A002  # the same
        """Return the spec of a socket whose timeout is the program's default."""
        options = self._options.get(family, ())
        return make_record(SocketSpec, (self.namespace, family, type, proto, None, None, options, ()))

    def open(
        self, take_fd: Callable[[SocketSpec, int], S], specs: Sequence[SocketSpec], *, wait_for_addresses: bool = True
    ) -> Waiting[list[S]]:
        """Open sockets that `take_fd` makes, all or none. The caller owns them."""
        if wait_for_addresses:
            return open_sockets(self._broker, take_fd, specs, self._wait_s, self.stock)
        return self._broker.open(take_fd, specs, self._wait_s)

    async def open_one(
        self,
        family: int,
        type: int,  # noqa: A002  # the socket module's own name
        proto: int = 0,
    ) -> socket.socket:
        """Open a plain non-blocking socket. The caller owns it."""
        try:
            return (await self.open(plain_socket, [self.spec(family, type, proto)]))[0]
        except REFUSALS as error:
            if impossible := kernel_error(family, type, proto):
                raise impossible from error
            raise

    async def has(self, sock: socket.socket) -> bool:
        """Return whether a socket is in this namespace. This opens a socket of the same kind to compare with."""
        with await self.open_one(*kind_of(sock)) as own:
            return netns_cookie(own) == netns_cookie(sock)

    def getaddrinfo(
        self,
        host: str | bytes | None,
        port: int | str | bytes | None,
        family: int = 0,
        type: int = 0,  # noqa: A002  # the socket module's own name
        proto: int = 0,
        flags: int = 0,
    ) -> Waiting[list[AddressInfo]]:
        """Find addresses as `socket.getaddrinfo` does, but in the namespace."""
        return self._names().getaddrinfo(host, port, family, type, proto, flags)

    def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int) -> Waiting[tuple[str, str]]:
        """Find names as `socket.getnameinfo` does, but in the namespace."""
        return self._names().getnameinfo(sockaddr, flags)

    def gethostbyname(self, name: object) -> Waiting[str]:
        """Find an IPv4 address as `socket.gethostbyname` does, but in the namespace."""
        return self._names().gethostbyname(name)

    def gethostbyname_ex(self, name: object) -> Waiting[tuple[str, list[str], list[str]]]:
        """Find names and IPv4 addresses as `socket.gethostbyname_ex` does, but in the namespace."""
        return self._names().gethostbyname_ex(name)

    def gethostbyaddr(self, name: object) -> Waiting[tuple[str, list[str], list[str]]]:
        """Find the names of an address as `socket.gethostbyaddr` does, but in the namespace."""
        return self._names().gethostbyaddr(name)

    def configuration(self) -> Waiting[Configuration]:
        """Return the files by which names are looked up in the namespace, parsed."""
        return self._names().configuration()

    async def stream_addresses(
        self, host: str | bytes | None, port: int | str | bytes | None, family: int = 0, proto: int = 0, flags: int = 0
    ) -> list[AddressInfo]:
        """Find the addresses for a TCP connection. For a numeric host, this neither uses nor loads the resolver."""
        numeric = numeric_stream(host, port, family) if not proto and not flags else None
        return numeric or await self.getaddrinfo(host, port, family, _STREAM, proto, flags)

    async def look_up(self, host: str, family: int) -> SocketAddress:
        """Return the first numeric address of a host."""
        return (await self.getaddrinfo(host, 0, family, _STREAM))[0][4]

    def _names(self) -> Resolver:
        """Return the resolver, which is loaded for the first look-up."""
        if self._resolver is None:
            from ..names.resolver import Resolver

            name = self.namespace if isinstance(self.namespace, str) else ""
            self._resolver = Resolver(self.open_one, self.resolver_files, name)
        return self._resolver

    def resolver_files(self) -> Waiting[ResolverFiles]:
        """Get the files by which names are looked up in the namespace."""
        return self._broker.read_resolver_files(self.namespace)

    async def interface_index(self, name: bytes) -> int:
        """Return the index of an interface, or 0 if there is no interface of this name."""
        from ..names.interfaces import index_of

        with await self.open_one(_INET, _STREAM) as sock:
            return index_of(sock, name)

    async def interface_name(self, index: int) -> str:
        """Return the name of an interface, or "" if there is no interface of this index."""
        from ..names.interfaces import name_interface

        with await self.open_one(_INET, _STREAM) as sock:
            return name_interface(sock, index)

    async def interfaces(self) -> list[tuple[int, str]]:
        """Return (index, name) of every interface. This needs a grant of netlink:route."""
        from ..names.interfaces import list_interfaces

        spec = SocketSpec(self.namespace, int(socket.AF_NETLINK), int(socket.SOCK_RAW))
        with (await self.open(plain_socket, [spec]))[0] as sock:
            return list_interfaces(sock)
