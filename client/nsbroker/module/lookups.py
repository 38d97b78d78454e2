"""The socket module's look-ups of names and interfaces, answered in a namespace."""

from __future__ import annotations

import errno
import os
import socket as _socket
from functools import partial

from ..drivers.client import Client
from ..names.numeric import interface_index, numeric_stream
from ..wire.messages import NamespaceRef, SocketSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..names.actions import SocketAddress
    from ..names.addrinfo import AddressInfo
    from ..names.driver import Resolver


class Lookups:
    """What `Namespace` knows of names. Nothing of the resolver is loaded before the first look-up."""

    def __init__(self, namespace: NamespaceRef, client: Client, wait_s: float) -> None:
        self._namespace = namespace
        self._client = client
        self._wait_s = wait_s
        self._names: Resolver | None = None

    def getaddrinfo(
        self,
        host: str | bytes | None,
        port: int | str | bytes | None,
        family: int = 0,
        type: int = 0,  # noqa: A002  # the socket module's own name
        proto: int = 0,
        flags: int = 0,
    ) -> list[AddressInfo]:
        """Find the addresses of a host, as `socket.getaddrinfo` does, but as they are looked up in the namespace.

        Raises:
            socket.gaierror: as there.
            OSError: as `Client.open`.
        """
        return self._resolver().getaddrinfo(host, port, family, type, proto, flags)

    def _stream_addresses(
        self, host: str | bytes | None, port: int | str | bytes | None, family: int = 0
    ) -> list[AddressInfo]:
        """Find where to connect to by TCP. For a numeric host nothing of the resolver is used, or loaded."""
        return numeric_stream(host, port, family) or self.getaddrinfo(host, port, family, _socket.SOCK_STREAM)

    def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int) -> tuple[str, str]:
        """Find the names of an address, as `socket.getnameinfo` does, but as they are looked up in the namespace."""
        return self._resolver().getnameinfo(sockaddr, flags)

    def gethostbyname(self, hostname: str) -> str:
        """Find an IPv4 address of a host, as `socket.gethostbyname` does, but as it is looked up in the namespace."""
        return str(self._look_up(hostname, _socket.AF_INET)[0])

    def gethostbyname_ex(self, hostname: str) -> tuple[str, list[str], list[str]]:
        """Find the IPv4 addresses of a host, as `socket.gethostbyname_ex` does; aliases are not told."""
        flags = _socket.AI_CANONNAME
        found = self.getaddrinfo(hostname, 0, _socket.AF_INET, _socket.SOCK_STREAM, 0, flags)
        return found[0][3] or hostname, [], [str(sockaddr[0]) for *_, sockaddr in found]

    def gethostbyaddr(self, ip_address: str) -> tuple[str, list[str], list[str]]:
        """Find the name of a host, as `socket.gethostbyaddr` does; aliases are not told."""
        sockaddr = self.getaddrinfo(ip_address, 0, 0, _socket.SOCK_STREAM)[0][4]
        return self.getnameinfo(sockaddr, _socket.NI_NAMEREQD)[0], [], [str(sockaddr[0])]

    def getfqdn(self, name: str = "") -> str:
        """Find the whole name of a host, as `socket.getfqdn` does; without one, this machine's."""
        name = name.strip()
        if name in ("", "0.0.0.0", "::"):
            return _socket.gethostname()
        try:
            return self.gethostbyaddr(name)[0]
        except OSError:
            return name

    def _look_up(self, host: str, family: int) -> SocketAddress:
        return self.getaddrinfo(host, 0, family, _socket.SOCK_STREAM)[0][4]

    def _resolver(self) -> Resolver:
        if self._names is None:
            from ..names.driver import Resolver

            name = self._namespace if isinstance(self._namespace, str) else ""
            self._names = Resolver(self._open_plain, partial(self._client.resolver_files, self._namespace), name)
        return self._names

    def _open_plain(self, family: int, kind: int) -> _socket.socket:
        return self._client.open((SocketSpec(self._namespace, family, kind),), self._wait_s)[0]

    def if_nameindex(self) -> list[tuple[int, str]]:
        """List the interfaces of the namespace, as `socket.if_nameindex` does. Takes a grant of netlink:route.

        Raises:
            OSError: as `Client.open`.
        """
        from ..names.interface_list import list_interfaces

        spec = SocketSpec(self._namespace, _socket.AF_NETLINK, _socket.SOCK_RAW)
        with self._client.open((spec,), self._wait_s)[0] as sock:
            return list_interfaces(sock)

    def if_nametoindex(self, if_name: str) -> int:
        """Give the index of an interface of the namespace, as `socket.if_nametoindex` does."""
        with self._open_plain(_socket.AF_INET, _socket.SOCK_STREAM) as sock:
            return interface_index(sock, if_name)

    def if_indextoname(self, if_index: int) -> str:
        """Give the name of an interface of the namespace, as `socket.if_indextoname` does."""
        from ..names.interfaces import name_interface

        with self._open_plain(_socket.AF_INET, _socket.SOCK_STREAM) as sock:
            name = name_interface(sock, if_index)
        if not name:
            raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))
        return name
