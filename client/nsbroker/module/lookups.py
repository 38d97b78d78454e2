"""The half of `Namespace` that looks up names and interfaces, as the socket module's functions do."""

from __future__ import annotations

import errno
import os
import socket as _socket
import sys

from ..drivers.thread import run
from ..place.place import Place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..names.numeric import AddressInfo

_MAX_INDEX = 0xFFFFFFFF


class Lookups:
    """The look-ups of a namespace, by its own hosts file, name servers and interfaces."""

    _place: Place

    def getaddrinfo(
        self,
        host: str | bytes | None,
        port: int | str | bytes | None,
        family: int = 0,
        type: int = 0,  # noqa: A002  # the socket module's own name
        proto: int = 0,
        flags: int = 0,
    ) -> list[AddressInfo]:
        """Find the addresses of a host and a service in the namespace, as `socket.getaddrinfo` does.

        Args:
            host: a name or an address. `None` is the loopback address.
            port: a number, or the name of a service.
            family: AF_INET or AF_INET6, or 0 for both.
            type: SOCK_STREAM or SOCK_DGRAM, or 0 for all.
            proto: a protocol's number, or 0 for all.
            flags: AI_* constants.

        Returns:
            (family, type, proto, canonical name, address) for each address, in the order to try them (RFC 6724).

        Raises:
            socket.gaierror: as in the socket module. If the name servers don't answer, its notes say why.
            OSError: as `Client.open`.

        Example:
            >>> import nsbroker
            >>> blue = nsbroker.Namespace("blue")
            >>> found = blue.getaddrinfo("www.example.org", 80, type=blue.SOCK_STREAM)
            >>> host, port = found[0][4][:2]
            >>> port
            80
        """
        return run(self._place.getaddrinfo(host, port, family, type, proto, flags))

    def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int) -> tuple[str, str]:
        """Find the names of an address in the namespace, as `socket.getnameinfo` does.

        Args:
            sockaddr: (host, port) or (host, port, flowinfo, scope id), where the host is numeric.
            flags: NI_* constants.

        Returns:
            The names of the host and of the service.

        Raises:
            socket.gaierror: as in the socket module.
            OSError: as `Client.open`.

        Example:
            >>> import nsbroker
            >>> blue = nsbroker.Namespace("blue")
            >>> blue.getnameinfo(("127.0.0.1", 80), blue.NI_NUMERICHOST)
            ('127.0.0.1', 'http')
        """
        return run(self._place.getnameinfo(sockaddr, flags))

    def gethostbyname(self, hostname: str | bytes | bytearray) -> str:
        """Find an IPv4 address of a host in the namespace, as `socket.gethostbyname` does.

        Args:
            hostname: a name or an address.

        Returns:
            The first address in the order of RFC 6724.

        Raises:
            socket.gaierror: the host is not found.
            OSError: as `Client.open`.

        Example:
            >>> import nsbroker
            >>> nsbroker.Namespace("blue").gethostbyname("localhost")
            '127.0.0.1'
        """
        return run(self._place.gethostbyname(hostname))

    def gethostbyname_ex(self, hostname: str | bytes | bytearray) -> tuple[str, list[str], list[str]]:
        """Find the IPv4 addresses of a host in the namespace, as `socket.gethostbyname_ex` does.

        Args:
            hostname: a name or an address.

        Returns:
            The canonical name, the aliases, and the addresses.

        Raises:
            socket.gaierror: the host is not found.
            OSError: as `Client.open`.

        Example:
            >>> import nsbroker
            >>> nsbroker.Namespace("blue").gethostbyname_ex("127.0.0.1")
            ('127.0.0.1', [], ['127.0.0.1'])
        """
        return run(self._place.gethostbyname_ex(hostname))

    def gethostbyaddr(self, ip_address: str | bytes | bytearray) -> tuple[str, list[str], list[str]]:
        """Find the names of a host in the namespace, as `socket.gethostbyaddr` does.

        Args:
            ip_address: an address, or a name that is looked up first.

        Returns:
            The canonical name, the aliases, and the address in a list.

        Raises:
            socket.herror: the host has no name.
            socket.gaierror: the host is not found.
            OSError: as `Client.open`.

        Example:
            >>> import nsbroker
            >>> blue = nsbroker.Namespace("blue")
            >>> try:
            ...     name, aliases, addresses = blue.gethostbyaddr("127.0.0.1")
            ... except blue.herror:
            ...     name = "127.0.0.1"
        """
        return run(self._place.gethostbyaddr(ip_address))

    def getfqdn(self, name: str = "") -> str:
        """Find the full name of a host in the namespace, as `socket.getfqdn` does.

        Args:
            name: a name or an address. Default: this machine, by the name that the namespace has for it.

        Returns:
            The first of the host's names that has a dot, otherwise its canonical name. If the look-up fails, `name`
            itself.

        Raises:
            UnicodeError: the codec "idna" can't encode the name.

        Example:
            >>> import nsbroker
            >>> nsbroker.Namespace("blue").getfqdn("192.0.2.1")
            '192.0.2.1'
        """
        name = name.strip()
        if name in ("", "0.0.0.0", "::"):
            name = _socket.gethostname()
        try:
            canonical, aliases, _ = self.gethostbyaddr(name)
        except OSError as error:
            if isinstance(error, UnicodeError):
                raise
            return name
        return next((each for each in (canonical, *aliases) if "." in each), canonical)

    def getservbyname(self, servicename: str, *protocolname: str) -> int:
        """Return the port of a service, as `socket.getservbyname` does.

        Args:
            servicename: the service's name.
            protocolname: "tcp" or "udp". Default: any protocol.

        Raises:
            OSError: there is no such service, or as `Client.open`.

        Example:
            >>> import nsbroker
            >>> nsbroker.Namespace("blue").getservbyname("http", "tcp")
            80
        """
        return run(self._place.configuration()).port_of(servicename, *protocolname)

    def getservbyport(self, port: int, *protocolname: str) -> str:
        """Return the service that has a port, as `socket.getservbyport` does.

        Args:
            port: the port.
            protocolname: "tcp" or "udp". Default: any protocol.

        Raises:
            OSError: there is no such service, or as `Client.open`.

        Example:
            >>> import nsbroker
            >>> nsbroker.Namespace("blue").getservbyport(80, "tcp")
            'http'
        """
        return run(self._place.configuration()).service_of(port, *protocolname)

    def getprotobyname(self, protocolname: str) -> int:
        """Return the number of a protocol, as `socket.getprotobyname` does.

        Args:
            protocolname: the protocol's name.

        Raises:
            OSError: there is no such protocol, or as `Client.open`.

        Example:
            >>> import nsbroker
            >>> nsbroker.Namespace("blue").getprotobyname("tcp")
            6
        """
        return run(self._place.configuration()).protocol_of(protocolname)

    def if_nameindex(self) -> list[tuple[int, str]]:
        """List the interfaces of the namespace as (index, name), as `socket.if_nameindex` does.

        Raises:
            AccessDeniedError: there is no grant of netlink:route.
            OSError: as `Client.open`.

        Example:
            >>> import nsbroker
            >>> nsbroker.Namespace("blue").if_nameindex()[0]
            (1, 'lo')
        """
        return run(self._place.interfaces())

    def if_nametoindex(self, if_name: str | bytes | os.PathLike[str]) -> int:
        """Return the index of an interface of the namespace, as `socket.if_nametoindex` does.

        Args:
            if_name: the interface's name.

        Raises:
            TypeError, ValueError: this can't be a name.
            OSError: there is no interface of this name (ENODEV, since Python 3.14), or as `Client.open`.

        Example:
            >>> import nsbroker
            >>> nsbroker.Namespace("blue").if_nametoindex("lo")
            1
        """
        name = os.fsencode(if_name)
        if b"\0" in name:
            raise ValueError("embedded null byte")
        if index := run(self._place.interface_index(name)):
            return index
        if sys.version_info >= (3, 14):
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        raise OSError("no interface with this name")

    def if_indextoname(self, if_index: int) -> str:
        """Return the name of an interface of the namespace, as `socket.if_indextoname` does.

        Args:
            if_index: the interface's index.

        Raises:
            TypeError, OverflowError: this can't be an index.
            OSError: there is no interface of this index (ENXIO), or as `Client.open`.

        Example:
            >>> import nsbroker
            >>> nsbroker.Namespace("blue").if_indextoname(1)
            'lo'
        """
        if not isinstance(if_index, int):
            raise TypeError("an integer is required")
        if if_index < 0:
            raise OverflowError("can't convert negative value to unsigned int")
        if if_index > _MAX_INDEX:
            raise OverflowError("index is too large")
        if name := run(self._place.interface_name(if_index)):
            return name
        raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))
