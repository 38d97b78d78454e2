"""`Namespace`: a network namespace that can stand in for the `socket` module."""

from __future__ import annotations

import os
import socket as _socket

from ..drivers.client import Client, shared_client
from ..link.retry import DEFAULT_TIMEOUT_S
from ..names.numeric import NameGivenError, numeric_host
from ..place.listening import listener_spec
from ..wire.messages import NamespaceRef, SocketSpec
from .lookups import Lookups
from .passthrough import pass_on
from .sockets import NamespaceSocket, socket_class

_PROGRAMS_DEFAULT = object()
"""Stands for `socket.getdefaulttimeout()`, which None does not: that is no timeout at all."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from ssl import SSLContext
    from typing import Any

    from ..names.actions import SocketAddress


class Namespace(Lookups):
    """A network namespace, with the socket module's own names: `socket`, `create_connection`, `AF_INET`, ...

    Args:
        namespace: a name such as "blue", "@host" for the broker's own, a path with a "/" such as /proc/PID/ns/net,
            which is opened with the caller's rights for each request anew, or the descriptor of a namespace, which
            must stay open as long as this is used.
        client: the client to ask by; else one that is shared by all namespaces of the same path and timeout.
        path: the broker's socket; else $NSBROKER_SOCKET, else /run/nsbroker/nsbroker.sock.
        timeout: seconds that a call waits for the broker.
        wait: seconds, up to 60, that a call waits for the namespace to exist.

    Attributes:
        socket: the class of this namespace's sockets: `socket.socket`, but born there, and looking up names there.
    """

    socket: type[NamespaceSocket]

    def __init__(
        self,
        namespace: NamespaceRef,
        *,
        client: Client | None = None,
        path: str | None = None,
        timeout: float = DEFAULT_TIMEOUT_S,
        wait: float = 0,
    ) -> None:
        if client is not None and path is not None:
            raise TypeError("a client has its path already")
        super().__init__(namespace, client or shared_client(path, timeout), wait)
        self.socket = socket_class(self._open, self._look_up)

    def __repr__(self) -> str:
        return f"<nsbroker.Namespace {self._namespace!r}>"

    def __getattr__(self, name: str) -> Any:
        """Pass on the socket module's constants and pure functions, and nothing that could look up a name."""
        return pass_on(name)

    def _open(
        self, take_fd: Callable[[SocketSpec, int], NamespaceSocket], family: int, kind: int, proto: int
    ) -> object:
        return self._client.open_as(take_fd, (SocketSpec(self._namespace, family, kind, proto),), self._wait_s)

    def create_connection(
        self,
        address: tuple[str | None, int | str | None],
        timeout: float | object | None = _PROGRAMS_DEFAULT,
        source_address: tuple[str, int] | None = None,
        *,
        all_errors: bool = False,
    ) -> NamespaceSocket:
        """Connect a TCP socket, as `socket.create_connection` does: the addresses of the host one after the other.

        Raises:
            socket.gaierror: the host is not found.
            OSError: as `Client.open` and connect(2).
            ExceptionGroup: with `all_errors`, when no address could be reached.
        """
        errors: list[OSError] = []
        for family, _, _, _, sockaddr in self._stream_addresses(*address):
            try:
                return self._connect(family, sockaddr, timeout, source_address)
            except OSError as error:
                errors.append(error)
        try:
            if all_errors:
                raise ExceptionGroup("create_connection failed", errors)
            raise errors[-1]
        finally:
            errors.clear()  # A traceback that holds its own exception would be a cycle.

    def _connect(
        self, family: int, address: SocketAddress, timeout: object, source_address: tuple[str, int] | None
    ) -> NamespaceSocket:
        sock = self.socket(family, _socket.SOCK_STREAM)
        try:
            if timeout is not _PROGRAMS_DEFAULT:
                sock.settimeout(timeout)  # type: ignore[arg-type]  # a number or None; else its own TypeError
            if source_address:
                sock.bind(source_address)
            _socket.SocketType.connect(sock, address)  # it was looked up already
        except BaseException:
            sock.close()
            raise
        return sock

    def create_server(
        self,
        address: tuple[Any, ...],
        *,
        family: int = _socket.AF_INET,
        backlog: int | None = None,
        reuse_port: bool = False,
        dualstack_ipv6: bool = False,
    ) -> NamespaceSocket:
        """Listen on a TCP address, as `socket.create_server` does; the broker binds, so low ports work.

        Raises:
            socket.gaierror: the host is not found.
            OSError: as `Client.open`.
        """
        try:
            numeric_host(str(address[0]).partition("%")[0], family)
        except NameGivenError:
            address = (self._look_up(address[0], family)[0], *address[1:])
        spec = listener_spec(
            self._namespace, address, family, backlog, reuse_port=reuse_port, dualstack_ipv6=dualstack_ipv6
        )
        return self._client.open_as(self._adopt, (spec,), self._wait_s)[0]

    def _adopt(self, spec: SocketSpec, fd: int) -> NamespaceSocket:
        return self.socket(spec.family, spec.type, spec.proto, fd)

    def secure(self, context: SSLContext) -> SSLContext:
        """Have a TLS context's sockets look up names in the namespace, also when they are wrapped before they connect.

        Returns:
            The same context.
        """
        from .tls import ssl_socket_class

        context.sslsocket_class = ssl_socket_class(self._look_up)
        return context

    def fromfd(self, fd: int, family: int, type: int, proto: int = 0) -> NamespaceSocket:  # noqa: A002  # the socket module's own name
        """Make a socket of a copy of a descriptor, as `socket.fromfd` does. It stays in the namespace it is in."""
        return self.socket(family, type, proto, os.dup(fd))
