"""dnspython in a namespace: a resolver that asks name servers over its sockets.

    resolver = Resolver("blue")
    resolver.resolve("example.org", "MX")

It asks over UDP and TCP. For the addresses of a host there is `Namespace.getaddrinfo`.
"""

from __future__ import annotations

import socket
from contextlib import contextmanager
from io import StringIO
from typing import TYPE_CHECKING, NoReturn

import dns.exception
import dns.inet
import dns.nameserver
import dns.query
import dns.resolver

from ..names.numeric import interface_index
from ._hooks import require
from ._namespace import as_namespace

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    import dns.message

    from ..module.namespace import Namespace
    from ..module.sockets import NamespaceSocket
    from ..wire.messages import NamespaceRef

require(dns.nameserver.Do53Nameserver, "query", "async_query")
require(dns.resolver.Resolver, "nameservers", "try_ddr")


class Do53Nameserver(dns.nameserver.Do53Nameserver):
    """`dns.nameserver.Do53Nameserver` in a namespace."""

    def __init__(self, namespace: Namespace | NamespaceRef, address: str, port: int = 53) -> None:
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
        """Ask over UDP, or over TCP when `max_size` is set; the resolver calls this."""
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
        """Refuse: the sockets of `dns.asyncresolver` would be the own namespace's."""
        raise NotImplementedError("dns.asyncresolver does not ask in a namespace")

    @contextmanager
    def _open(self, kind: int, source: str | None, source_port: int) -> Iterator[NamespaceSocket]:
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        with self._namespace.socket(family, kind) as sock:
            if source or source_port:
                sock.bind((source or "", source_port))
            sock.setblocking(False)
            yield sock

    def _numeric_scope(self, sock: NamespaceSocket) -> str:
        """Give the address with the number of its scope, whose name dnspython would look up in the own namespace."""
        address, _, scope = self.address.partition("%")
        return f"{address}%{interface_index(sock, scope)}" if scope else address


def _named(args: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip(("one_rr_per_rrset", "ignore_trailing"), args, strict=False))


class Resolver(dns.resolver.Resolver):
    """`dns.resolver.Resolver` in a namespace: it asks the name servers of the namespace's resolv.conf.

    Args:
        namespace: where the name servers are asked.
        configure: whether to read the namespace's resolv.conf; else `nameservers` has to be set.
    """

    def __init__(self, namespace: Namespace | NamespaceRef, configure: bool = True) -> None:
        self._namespace = as_namespace(namespace)
        super().__init__(configure=False)
        if configure:
            files = self._namespace._client.resolver_files(self._namespace._namespace)
            self.read_resolv_conf(StringIO(files.resolv_conf))

    @property
    def nameservers(self) -> Sequence[str | dns.nameserver.Nameserver]:
        """The name servers: addresses can be assigned, and are made to `Do53Nameserver`."""
        return self._nameservers

    @nameservers.setter
    def nameservers(self, nameservers: Sequence[str | dns.nameserver.Nameserver]) -> None:
        self._nameservers = [self._inside(server) for server in nameservers]

    def _inside(self, server: str | dns.nameserver.Nameserver) -> Do53Nameserver:
        if isinstance(server, Do53Nameserver):
            return server
        if isinstance(server, str) and dns.inet.is_address(server):
            return Do53Nameserver(self._namespace, server, self.nameserver_ports.get(server, self.port))
        raise ValueError(f"only name servers with an address, over UDP and TCP, are asked in a namespace: {server}")

    def try_ddr(self, *_: object, **__: object) -> NoReturn:
        """Refuse: what it finds would be asked over sockets of the own namespace."""
        raise NotImplementedError("no discovery of designated resolvers in a namespace")
