"""Twisted in a namespace: endpoints, and what makes them for `Agent`.

    endpoint = HostnameEndpoint("blue", reactor, "www.example.org", 80)
    agent = Agent.usingEndpointFactory(reactor, EndpointFactory("blue", reactor))

For TLS wrap an endpoint by `twisted.internet.endpoints.wrapClientTLS`. The broker and the names are asked in threads
of the reactor's pool. There is no name resolver to install: with one, the reactor would connect in its own namespace to
what it found in another.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint, IStreamServerEndpoint
from twisted.web.client import BrowserLikePolicyForHTTPS
from twisted.web.error import SchemeNotSupported
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from ._namespace import as_namespace
from ._reactor import Connecting, adopt, in_thread

if TYPE_CHECKING:
    from typing import Any

    from ..module.namespace import Namespace
    from ..wire.messages import NamespaceRef


@implementer(IStreamClientEndpoint)
class HostnameEndpoint:
    """`twisted.internet.endpoints.HostnameEndpoint(reactor, host, port, timeout, bindAddress)` in a namespace.

    It tries the addresses of the host one after another; `timeout` is for each.
    """

    def __init__(
        self,
        namespace: Namespace | NamespaceRef,
        reactor: Any,
        host: str | bytes,
        port: int,
        timeout: float = 30,
        bindAddress: tuple[str, int] | str | None = None,  # noqa: N803  # Twisted's own name
    ) -> None:
        self._namespace = as_namespace(namespace)
        self._reactor = reactor
        self._host = host.decode("ascii") if isinstance(host, bytes) else host
        self._port = port
        self._timeout_s = timeout
        self._bind_address = (bindAddress, 0) if isinstance(bindAddress, str) else bindAddress

    def connect(self, protocolFactory: Any) -> Deferred[Any]:  # noqa: N803  # Twisted's own name
        """Connect, and give the protocol, or an error of `twisted.internet.error`."""
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: Any) -> Any:
        last: Exception = error.DNSLookupError(f"no results for hostname lookup: {self._host}")
        try:
            found = await in_thread(
                self._reactor, self._namespace.getaddrinfo, self._host, self._port, 0, socket.SOCK_STREAM
            )
        except socket.gaierror as failure:
            raise error.DNSLookupError(str(failure)) from failure
        for family, kind, proto, _, address in found:
            with await self._open(family, kind, proto) as sock:  # What Twisted adopts is a copy.
                try:
                    await self._connect_socket(sock, address)
                except error.ConnectError as failure:
                    last = failure
                    continue
                return adopt(self._reactor, sock, factory)
        raise last

    async def _open(self, family: int, kind: int, proto: int) -> socket.socket:
        try:
            sock: socket.socket = await in_thread(self._reactor, self._namespace.socket, family, kind, proto)
        except OSError as failure:
            raise error.ConnectError(failure.errno, str(failure)) from failure
        return sock

    async def _connect_socket(self, sock: socket.socket, address: tuple[Any, ...]) -> None:
        sock.setblocking(False)
        try:
            if self._bind_address:
                sock.bind(self._bind_address)
        except OSError as failure:
            raise error.ConnectBindError(failure.errno, str(failure)) from failure
        number = sock.connect_ex(address)
        if number == errno.EINPROGRESS:
            number = await Connecting(self._reactor, sock).wait(self._timeout_s)
        if number:
            raise error.getConnectError((number, os.strerror(number)))


@implementer(IStreamServerEndpoint)
class TCP4ServerEndpoint:
    """`twisted.internet.endpoints.TCP4ServerEndpoint(reactor, port, backlog, interface)` in a namespace."""

    _any = ""
    _family = socket.AF_INET

    def __init__(
        self, namespace: Namespace | NamespaceRef, reactor: Any, port: int, backlog: int = 50, interface: str = ""
    ) -> None:
        self._namespace = as_namespace(namespace)
        self._reactor = reactor
        self._address = (interface or self._any, port)
        self._backlog = backlog

    def listen(self, protocolFactory: Any) -> Deferred[Any]:  # noqa: N803  # Twisted's own name
        """Listen on a socket that the broker bound, and give the port."""
        return Deferred.fromCoroutine(self._listen(protocolFactory))

    async def _listen(self, factory: Any) -> Any:
        def open_socket() -> socket.socket:
            return self._namespace.create_server(self._address, family=self._family, backlog=self._backlog)

        try:
            sock = await in_thread(self._reactor, open_socket)
        except OSError as failure:
            raise error.CannotListenError(*self._address, failure) from failure
        with sock:  # What Twisted adopts is a copy.
            sock.setblocking(False)
            return self._reactor.adoptStreamPort(sock.fileno(), sock.family, factory)


class TCP6ServerEndpoint(TCP4ServerEndpoint):
    """`twisted.internet.endpoints.TCP6ServerEndpoint(reactor, port, backlog, interface)` in a namespace."""

    _any = "::"
    _family = socket.AF_INET6


@implementer(IAgentEndpointFactory)
class EndpointFactory:
    """What `twisted.web.client.Agent.usingEndpointFactory` takes: it makes endpoints in a namespace.

    Args:
        namespace: where to connect, and where names are looked up.
        reactor: the reactor.
        contextFactory: whom to trust; else what the system does.
        connectTimeout: seconds for each address of a host.
    """

    def __init__(
        self,
        namespace: Namespace | NamespaceRef,
        reactor: Any,
        contextFactory: Any = None,  # noqa: N803  # Twisted's own name
        connectTimeout: float = 30,  # noqa: N803  # Twisted's own name
    ) -> None:
        self._namespace = as_namespace(namespace)
        self._reactor = reactor
        self._policy = contextFactory or BrowserLikePolicyForHTTPS()
        self._timeout_s = connectTimeout

    def endpointForURI(self, uri: Any) -> Any:  # noqa: N802  # Twisted's own name
        """Make the endpoint for a URI."""
        endpoint = HostnameEndpoint(self._namespace, self._reactor, uri.host, uri.port, self._timeout_s)
        if uri.scheme == b"http":
            return endpoint
        if uri.scheme == b"https":
            return wrapClientTLS(self._policy.creatorForNetloc(uri.host, uri.port), endpoint)  # type: ignore[arg-type]  # zope
        raise SchemeNotSupported(f"Unsupported scheme: {uri.scheme!r}")
