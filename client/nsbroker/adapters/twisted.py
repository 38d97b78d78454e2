"""Twisted in a namespace: endpoints, and a factory of endpoints for `Agent`.

For TLS, wrap an endpoint by `twisted.internet.endpoints.wrapClientTLS`. Requests to the broker and look-ups run in
threads of the reactor's pool. This module has no name resolver to install: with one, the reactor would look up a name
in the namespace, but connect in its own.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint, IStreamServerEndpoint
from twisted.web.client import BrowserLikePolicyForHTTPS
from twisted.web.error import SchemeNotSupported
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from ._namespace import NamespaceLike, as_namespace
from ._reactor import Connecting, adopt, in_thread


@implementer(IStreamClientEndpoint)
class HostnameEndpoint:
    """`twisted.internet.endpoints.HostnameEndpoint` in a namespace. It tries the addresses of a host one by one.

    Args:
        namespace: the namespace of the connection and of the look-up.
        reactor: the reactor.
        host: a name or an address.
        port: the port.
        timeout: seconds for each address.
        bindAddress: the address, or (address, port), to bind to, if any.

    Example:
        >>> endpoint = HostnameEndpoint("blue", reactor, "www.example.org", 80)
        >>> protocol = await endpoint.connect(Factory.forProtocol(Protocol))
        >>> protocol.transport.getPeer().port
        80
    """

    def __init__(
        self,
        namespace: NamespaceLike,
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
        """Connect, and fire with the protocol, or with an error of `twisted.internet.error`."""
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: Any) -> Any:
        last: Exception = error.DNSLookupError(f"no results for hostname lookup: {self._host}")
        try:
            found = await in_thread(
                self._reactor, self._namespace.getaddrinfo, self._host, self._port, 0, socket.SOCK_STREAM
            )
        except socket.gaierror as failure:
            raise error.DNSLookupError(str(failure)) from failure
        for family, socket_type, proto, _, address in found:
            with await self._open(family, socket_type, proto) as sock:  # Twisted adopts a copy.
                try:
                    await self._connect_socket(sock, address)
                except error.ConnectError as failure:
                    last = failure
                    continue
                return adopt(self._reactor, sock, factory)
        raise last

    async def _open(self, family: int, socket_type: int, proto: int) -> socket.socket:
        try:
            sock: socket.socket = await in_thread(self._reactor, self._namespace.socket, family, socket_type, proto)
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
    """`twisted.internet.endpoints.TCP4ServerEndpoint` in a namespace. The broker binds, so low ports work.

    Args:
        namespace: the namespace of the listening socket.
        reactor: the reactor.
        port: the port.
        backlog: how many connections may wait in the queue.
        interface: the address to bind to (default: every IPv4 address).

    Example:
        >>> endpoint = TCP4ServerEndpoint("blue", reactor, 80)
        >>> port = await endpoint.listen(Factory.forProtocol(Protocol))
        >>> port.getHost().port
        80
        >>> await port.stopListening()
    """

    _any = ""
    _family = socket.AF_INET

    def __init__(
        self, namespace: NamespaceLike, reactor: Any, port: int, backlog: int = 50, interface: str = ""
    ) -> None:
        self._namespace = as_namespace(namespace)
        self._reactor = reactor
        self._address = (interface or self._any, port)
        self._backlog = backlog

    def listen(self, protocolFactory: Any) -> Deferred[Any]:  # noqa: N803  # Twisted's own name
        """Listen on a socket that the broker bound, and fire with the port, or with `CannotListenError`."""
        return Deferred.fromCoroutine(self._listen(protocolFactory))

    async def _listen(self, factory: Any) -> Any:
        def open_socket() -> socket.socket:
            return self._namespace.create_server(self._address, family=self._family, backlog=self._backlog)

        try:
            sock = await in_thread(self._reactor, open_socket)
        except OSError as failure:
            raise error.CannotListenError(*self._address, failure) from failure
        with sock:  # Twisted adopts a copy.
            sock.setblocking(False)
            return self._reactor.adoptStreamPort(sock.fileno(), sock.family, factory)


class TCP6ServerEndpoint(TCP4ServerEndpoint):
    """`twisted.internet.endpoints.TCP6ServerEndpoint` in a namespace. See `TCP4ServerEndpoint`.

    Example:
        >>> endpoint = TCP6ServerEndpoint("blue", reactor, 80)
        >>> port = await endpoint.listen(Factory.forProtocol(Protocol))
        >>> await port.stopListening()
    """

    _any = "::"
    _family = socket.AF_INET6


@implementer(IAgentEndpointFactory)
class EndpointFactory:
    """Makes endpoints in a namespace, for `twisted.web.client.Agent.usingEndpointFactory`.

    Args:
        namespace: the namespace of the connections and of the look-ups.
        reactor: the reactor.
        contextFactory: the policy for TLS (default: trust the authorities of the system).
        connectTimeout: seconds for each address of a host.

    Example:
        >>> agent = Agent.usingEndpointFactory(reactor, EndpointFactory("blue", reactor))
        >>> response = await agent.request(b"GET", b"http://www.example.org/")
        >>> response.code
        200
    """

    def __init__(
        self,
        namespace: NamespaceLike,
        reactor: Any,
        contextFactory: Any = None,  # noqa: N803  # Twisted's own name
        connectTimeout: float = 30,  # noqa: N803  # Twisted's own name
    ) -> None:
        self._namespace = as_namespace(namespace)
        self._reactor = reactor
        self._policy = contextFactory or BrowserLikePolicyForHTTPS()
        self._timeout_s = connectTimeout

    def endpointForURI(self, uri: Any) -> Any:  # noqa: N802  # Twisted's own name
        """Return the endpoint for a URI. `Agent` calls this.

        Raises:
            SchemeNotSupported: the scheme is neither http nor https.
        """
        endpoint = HostnameEndpoint(self._namespace, self._reactor, uri.host, uri.port, self._timeout_s)
        if uri.scheme == b"http":
            return endpoint
        if uri.scheme == b"https":
            return wrapClientTLS(self._policy.creatorForNetloc(uri.host, uri.port), endpoint)  # type: ignore[arg-type]  # zope
        raise SchemeNotSupported(f"Unsupported scheme: {uri.scheme!r}")
