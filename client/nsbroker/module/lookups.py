"""The half of `Namespace` that looks up names and interfaces, as the socket module's functions do."""

from __future__ import annotations

import socket as _socket

from ..drivers.thread import run
from ..place.place import Place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..names.numeric import AddressInfo


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

    def gethostbyname(self, hostname: str) -> str:
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
        return str(run(self._place.look_up(hostname, _socket.AF_INET))[0])

    def gethostbyname_ex(self, hostname: str) -> tuple[str, list[str], list[str]]:
        """Find the IPv4 addresses of a host in the namespace, as `socket.gethostbyname_ex` does.

        Args:
            hostname: a name or an address.

        Returns:
            The canonical name, an empty list (aliases are not known), and the addresses.

        Raises:
            socket.gaierror: the host is not found.
            OSError: as `Client.open`.

        Example:
            >>> import nsbroker
            >>> nsbroker.Namespace("blue").gethostbyname_ex("localhost")
            ('localhost', [], ['127.0.0.1'])
        """
        flags = _socket.AI_CANONNAME
        found = self.getaddrinfo(hostname, 0, _socket.AF_INET, _socket.SOCK_STREAM, 0, flags)
        return found[0][3] or hostname, [], [str(sockaddr[0]) for *_, sockaddr in found]

    def gethostbyaddr(self, ip_address: str) -> tuple[str, list[str], list[str]]:
        """Find the name of a host in the namespace, as `socket.gethostbyaddr` does.

        Args:
            ip_address: an address, or a name that is looked up first.

        Returns:
            The name, an empty list (aliases are not known), and the address in a list.

        Raises:
            socket.gaierror: the host has no name, or is not found.
            OSError: as `Client.open`.

        Example:
            >>> import nsbroker
            >>> blue = nsbroker.Namespace("blue")
            >>> try:
            ...     name, aliases, addresses = blue.gethostbyaddr("127.0.0.1")
            ... except blue.gaierror:
            ...     name = "127.0.0.1"
        """
        sockaddr = self.getaddrinfo(ip_address, 0, 0, _socket.SOCK_STREAM)[0][4]
        return self.getnameinfo(sockaddr, _socket.NI_NAMEREQD)[0], [], [str(sockaddr[0])]

    def getfqdn(self, name: str = "") -> str:
        """Find the full name of a host in the namespace, as `socket.getfqdn` does.

        Args:
            name: a name or an address. Default: this machine.

        Returns:
            The full name. If the look-up fails for any reason, `name` itself.

        Example:
            >>> import socket
            >>> import nsbroker
            >>> nsbroker.Namespace("blue").getfqdn() == socket.gethostname()
            True
        """
        name = name.strip()
        if name in ("", "0.0.0.0", "::"):
            return _socket.gethostname()
        try:
            return self.gethostbyaddr(name)[0]
        except OSError:
            return name

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

    def if_nametoindex(self, if_name: str) -> int:
        """Return the index of an interface of the namespace, as `socket.if_nametoindex` does.

        Args:
            if_name: the interface's name.

        Raises:
            OSError: as `Client.open`, or ENODEV if there is no interface of this name.

        Example:
            >>> import nsbroker
            >>> nsbroker.Namespace("blue").if_nametoindex("lo")
            1
        """
        return run(self._place.interface_index(if_name))

    def if_indextoname(self, if_index: int) -> str:
        """Return the name of an interface of the namespace, as `socket.if_indextoname` does.

        Args:
            if_index: the interface's index.

        Raises:
            OSError: as `Client.open`, or ENXIO if there is no interface of this index.

        Example:
            >>> import nsbroker
            >>> nsbroker.Namespace("blue").if_indextoname(1)
            'lo'
        """
        return run(self._place.interface_name(if_index))
