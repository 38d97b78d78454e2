"""dnspython in a namespace: a resolver that asks name servers over sockets of the namespace, by UDP and TCP.

For the addresses of a host, use `Namespace.getaddrinfo`.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from typing import Any, NoReturn

import dns.exception
import dns.inet
import dns.message
import dns.nameserver
import dns.query
import dns.resolver

from ..drivers.thread import run
from ..module.sockets import NamespaceSocket
from ..names.numeric import interface_index
from ._namespace import NamespaceLike, as_namespace, require

require(dns.nameserver.Do53Nameserver, "query", "async_query")
require(dns.resolver.Resolver, "nameservers", "try_ddr")


class Do53Nameserver(dns.nameserver.Do53Nameserver):
    """`dns.nameserver.Do53Nameserver` in a namespace.

    Args:
        namespace: the namespace of the name server.
        address: its address, not its name.
        port: its port.

    Example:
        >>> resolver = Resolver("blue", configure=False)
        >>> resolver.nameservers = [Do53Nameserver("blue", "10.0.0.1")]
        >>> [server] = resolver.resolve("example.org", "MX")
        >>> server.exchange.to_text()
        'mail.example.org.'
    """

    def __init__(self, namespace: NamespaceLike, address: str, port: int = 53) -> None:
        super().__init__(address, port)
        self._namespace = as_namespace(namespace)

    def query(
        self,
        request: dns.message.QueryMessage,
        timeout: float,
        source: str | None,
        source_port: int,
        max_size: bool,
        *args: Any,
        **kwargs: Any,
    ) -> dns.message.Message:
        """Send a request by UDP, or by TCP if `max_size` is set, and return the answer. The resolver calls this."""
        with self._open(socket.SOCK_STREAM if max_size else socket.SOCK_DGRAM, source, source_port) as sock:
            where = self._numeric_scope(sock)
            if not max_size:
                kwargs |= {"raise_on_truncation": True, "ignore_errors": True, "ignore_unexpected": True, "sock": sock}
                return dns.query.udp(request, where, timeout, self.port, **_named(args), **kwargs)
            sock.settimeout(timeout)
            try:
                sock.connect((where, self.port))
            except TimeoutError as error:
                raise dns.exception.Timeout(timeout=timeout) from error
            sock.setblocking(False)
            return dns.query.tcp(request, where, timeout, self.port, sock=sock, **_named(args), **kwargs)

    async def async_query(self, *_: object, **__: object) -> NoReturn:
        """Refuse, since the sockets of `dns.asyncresolver` would be in the program's own namespace."""
        raise NotImplementedError(
            "dns.asyncresolver can't ask in a namespace: use nsbroker.adapters.dnspython.Resolver"
        )

    @contextmanager
    def _open(self, socket_type: int, source: str | None, source_port: int) -> Iterator[NamespaceSocket]:
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        with self._namespace.socket(family, socket_type) as sock:
            if source or source_port:
                sock.bind((source or "", source_port))
            sock.setblocking(False)
            yield sock

    def _numeric_scope(self, sock: NamespaceSocket) -> str:
        """Return the address with the index of its scope, so that dnspython looks up no interface by its name."""
        address, _, scope = self.address.partition("%")
        return f"{address}%{interface_index(sock, scope)}" if scope else address


def _named(args: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip(("one_rr_per_rrset", "ignore_trailing"), args, strict=False))


class Resolver(dns.resolver.Resolver):
    """`dns.resolver.Resolver` in a namespace. It asks the name servers of the namespace's resolv.conf.

    Args:
        namespace: the namespace of the name servers.
        configure: read the namespace's resolv.conf. If you set this to False, assign `nameservers`.

    Example:
        >>> [server] = Resolver("blue").resolve("example.org", "MX")
        >>> server.exchange.to_text()
        'mail.example.org.'
    """

    def __init__(self, namespace: NamespaceLike, configure: bool = True) -> None:
        self._namespace = as_namespace(namespace)
        super().__init__(configure=False)
        if configure:
            files = run(self._namespace._place.resolver_files())
            self.read_resolv_conf(StringIO(files.resolv_conf))

    @property
    def nameservers(self) -> Sequence[str | dns.nameserver.Nameserver]:
        """The name servers. If you assign addresses, they become objects of `Do53Nameserver`."""
        return self._nameservers

    @nameservers.setter
    def nameservers(self, nameservers: Sequence[str | dns.nameserver.Nameserver]) -> None:
        self._nameservers = [self._inside(server) for server in nameservers]

    def _inside(self, server: str | dns.nameserver.Nameserver) -> Do53Nameserver:
        if isinstance(server, Do53Nameserver):
            return server
        if isinstance(server, str) and dns.inet.is_address(server):
            return Do53Nameserver(self._namespace, server, self.nameserver_ports.get(server, self.port))
        raise ValueError(f"a name server in a namespace needs an address, and is asked by UDP and TCP: not {server}")

    def try_ddr(self, *_: object, **__: object) -> NoReturn:
        """Refuse, since dnspython would ask the found resolvers over sockets of the program's own namespace."""
        raise NotImplementedError("designated resolvers can't be asked in a namespace: assign name servers instead")
