"""`Namespace`: a network namespace that can stand in for the `socket` module."""

from __future__ import annotations

import os
import socket as _socket
from functools import partial

from ..drivers.thread import Client, run, shared_client
from ..link.broker import DEFAULT_TIMEOUT_S, check_stock, plain_socket
from ..names.numeric import is_name, numeric_address
from ..place.connecting import connect_in_turn
from ..place.listening import listener_spec
from ..place.options import AtBirth, split_privileged
from ..place.place import Place
from ..wire.messages import NamespaceRef
from .lookups import Lookups
from .passthrough import pass_on
from .sockets import NamespaceSocket, socket_class

_PROGRAMS_DEFAULT = _socket._GLOBAL_DEFAULT_TIMEOUT  # type: ignore[attr-defined]  # typeshed leaves it out
"""Stands for `socket.getdefaulttimeout()`. `None` does not: it means no timeout at all."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from ssl import SSLContext
    from typing import Any, Self


class Namespace(Lookups):
    r"""A network namespace, with the names of the socket module: `socket`, `create_connection`, `AF_INET` and so on.

    Args:
        namespace: a name such as "blue", or "@host" for the broker's own namespace. "podman:web" and "docker:web" are
            containers: the broker's, or if it says no, one of your own. It can also be a path with a "/", such as
            "/proc/PID/ns/net", which the library opens with your rights for each request. Or it is the descriptor of
            a namespace, which you keep open as long as you use this object.
        client: the `Client` to ask. Default: one that all namespaces with the same path and timeout share.
        path: the broker's socket. Default: $NSBROKER_SOCKET, then /run/nsbroker/nsbroker.sock.
        timeout: seconds that a call waits for the broker (default: 5). With `client`, the timeout of the client counts.
        wait: seconds, up to 60, that a call waits for the namespace, and for an address to listen on (default: 0).
        mark: SO_MARK of every IP and packet socket, also for looking up names. A grant must have it in `options`.
        transparent: set IP_TRANSPARENT (IPV6_TRANSPARENT) on every IP socket. A grant must have it in `options`.
        freebind: set IP_FREEBIND (IPV6_FREEBIND) on every IP socket, so that you can bind to an address that the
            namespace does not have.
        stock: keep up to this many TCP and UDP sockets ready, for at most a second (0: none). Use it for many short
            connections. A change of the policy then holds after a second: see "A stock of sockets" in the documents.

    Attributes:
        socket: the class of this namespace's unconnected sockets. It is a subclass of `socket.socket` whose sockets are
            born in the namespace and look up names there. Create one with `blue.socket(family, type, proto)`.

    Raises:
        TypeError: both a client and a path are given.
        ValueError: the timeout is not more than 0, or the mark or the stock is out of range.

    Example:
        >>> import nsbroker
        >>> blue = nsbroker.Namespace("blue")
        >>> with blue.create_connection(("www.example.org", 80)) as sock:
        ...     sock.sendall(b"GET / HTTP/1.0\r\nHost: www.example.org\r\n\r\n")
        ...     answer = sock.recv(4096)
        >>> answer[:5]
        b'HTTP/'
        >>> with blue.socket(blue.AF_INET, blue.SOCK_DGRAM) as sock:
        ...     sock.bind(("127.0.0.1", 0))
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
        mark: int | None = None,
        transparent: bool = False,
        freebind: bool = False,
        stock: int = 0,
    ) -> None:
        if client is not None and path is not None:
            raise TypeError("give either a client or a path: a client has a path already")
        at_birth = AtBirth(mark, transparent, freebind)
        broker = (client or shared_client(path, timeout)).broker
        self._place = Place(broker, namespace, wait, at_birth, check_stock(stock))
        self._arguments = {
            "path": broker.path, "timeout": broker.timeout_s, "wait": wait, "stock": stock, **at_birth._asdict()
        }  # fmt: skip
        self.socket = socket_class(self._place)

    def __repr__(self) -> str:
        return f"<nsbroker.Namespace {self._place.namespace!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arguments. The other process asks a client of its own for the same broker.

        Raises:
            TypeError: the namespace is a descriptor, which could be another namespace in the other process.
        """
        if isinstance(self._place.namespace, int):
            raise TypeError("a Namespace of a descriptor can't be pickled: use the namespace's name or path instead")
        return partial(type(self), self._place.namespace, **self._arguments), ()

    def __copy__(self) -> Self:
        """Return the same object, because it never changes."""
        return self

    def __deepcopy__(self, memo: object) -> Self:
        """Return the same object, because it never changes."""
        return self

    def __getattr__(self, name: str) -> Any:
        """Pass on the socket module's constants and pure functions, but no function that could look up a name."""
        return pass_on(name)

    def create_connection(
        self,
        address: tuple[str | None, int | str | None],
        timeout: float | object | None = _PROGRAMS_DEFAULT,
        source_address: tuple[str, int] | None = None,
        *,
        all_errors: bool = False,
    ) -> _socket.socket:
        """Connect a TCP socket in the namespace, as `socket.create_connection` does. It tries each address of the host.

        Args:
            address: (host, port). The host is a name or an address, and `None` is the loopback address. The port is a
                number or the name of a service.
            timeout: seconds for each address, or `None` for no limit. Default: `socket.getdefaulttimeout()`.
            source_address: (host, port) to bind to. Default: the kernel chooses.
            all_errors: raise the errors of all addresses, not only the last one.

        Returns:
            The connected socket, with the timeout set. It is a plain `socket.socket`.

        Raises:
            socket.gaierror: the host is not found.
            OSError: as `Client.open` and connect(2), for the last address. A TimeoutError after `timeout`.
            ExceptionGroup: with `all_errors`, if no address could be reached.

        Example:
            >>> import nsbroker
            >>> with nsbroker.Namespace("blue").create_connection(("www.example.org", 80), timeout=5) as sock:
            ...     sock.getpeername()[1]
            80
        """
        return self._connect(address, timeout, source_address, all_errors=all_errors)

    def _connect(
        self,
        address: tuple[str | None, int | str | None],
        timeout: object = _PROGRAMS_DEFAULT,
        source_address: Any = None,
        options: Iterable[tuple[Any, ...]] = (),
        family: int = 0,
        *,
        all_errors: bool = False,
    ) -> _socket.socket:
        """Connect as `create_connection` does, on sockets with these options: the arguments of `setsockopt`."""
        privileged, others = split_privileged(options)

        def prepare(sock: _socket.socket) -> None:
            for option in others:
                sock.setsockopt(*option)
            if timeout is not _PROGRAMS_DEFAULT:
                sock.settimeout(timeout)  # type: ignore[arg-type]  # a number or None; else its own TypeError
            if source_address:
                sock.bind(numeric_address(sock, source_address, self._look_up))

        try:
            return run(connect_in_turn(self._place, *address, family, privileged, prepare))
        except ExceptionGroup as group:
            errors = group.exceptions
        try:
            raise ExceptionGroup("create_connection failed", errors) if all_errors else errors[-1]
        finally:
            del errors  # A traceback that holds its own exception would be a cycle.

    def create_server(
        self,
        address: Any,
        *,
        family: int = _socket.AF_INET,
        backlog: int | None = None,
        reuse_port: bool = False,
        dualstack_ipv6: bool = False,
    ) -> _socket.socket:
        """Listen on a TCP address of the namespace, as `socket.create_server` does. The broker binds.

        Ports below 1024 work if a grant covers them. With another family, such as AF_UNIX, your own process binds.

        Args:
            address: (host, port). "" is every address of the family, and port 0 is any free port.
            family: AF_INET or AF_INET6, or another family with addresses of its own shape.
            backlog: as for `socket.listen`.
            reuse_port: set SO_REUSEPORT, so that you can have several listeners for one port.
            dualstack_ipv6: with AF_INET6, accept IPv4 connections as well.

        Returns:
            The listening socket. It is a plain `socket.socket`.

        Raises:
            socket.gaierror: the host is not found.
            AccessDeniedError: no grant covers the address.
            OSError: as `Client.open`, for example EADDRINUSE.

        Example:
            >>> import nsbroker
            >>> blue = nsbroker.Namespace("blue")
            >>> with blue.create_server(("127.0.0.1", 0)) as server:
            ...     with blue.create_connection(server.getsockname()) as near:
            ...         far, address = server.accept()
            >>> far.close()
        """
        if dualstack_ipv6 and family != _socket.AF_INET6:
            raise ValueError("dualstack_ipv6 requires AF_INET6 family")
        plain = self._place.blocking_spec(int(family), int(_socket.SOCK_STREAM))
        if family not in (_socket.AF_INET, _socket.AF_INET6):
            [sock] = run(self._place.open(plain_socket, (plain,)))
            try:
                sock.bind(address)
                sock.listen(*(() if backlog is None else (backlog,)))
            except BaseException:
                sock.close()
                raise
            return sock
        if is_name(str(address[0]), family):
            address = (self._look_up(address[0], family)[0], *address[1:])
        spec = listener_spec(
            self._place.namespace,
            address,
            family,
            backlog,
            reuse_port=reuse_port,
            dualstack_ipv6=dualstack_ipv6,
            at_birth=plain.options,
        )
        return run(self._place.open(plain_socket, (spec,)))[0]

    def _look_up(self, host: str, family: int) -> tuple[Any, ...]:
        return run(self._place.look_up(host, family))

    def secure(self, context: SSLContext) -> SSLContext:
        """Make a TLS context's sockets look up names in the namespace, even if they are wrapped before they connect.

        Args:
            context: the context, which this changes.

        Returns:
            The same context.

        Example:
            >>> import ssl
            >>> import nsbroker
            >>> blue = nsbroker.Namespace("blue")
            >>> context = blue.secure(ssl.create_default_context())
            >>> with context.wrap_socket(blue.socket(), server_hostname="www.example.org") as sock:
            ...     sock.connect(("www.example.org", 443))
        """
        from .tls import ssl_socket_class

        context.sslsocket_class = ssl_socket_class(self._place)
        return context

    def fromfd(self, fd: int, family: int, type: int, proto: int = 0) -> NamespaceSocket:  # noqa: A002  # the socket module's own name
        """Make a socket of a copy of a descriptor, as `socket.fromfd` does. It stays in the namespace that it is in.

        Args:
            fd: the descriptor, which you still own.
            family: the socket's family.
            type: the socket's type.
            proto: the socket's protocol.

        Returns:
            A socket of this namespace's class. You own it.

        Raises:
            OSError: as dup(2), for example EBADF.

        Example:
            >>> import nsbroker
            >>> blue = nsbroker.Namespace("blue")
            >>> with blue.socket() as first, blue.fromfd(first.fileno(), blue.AF_INET, blue.SOCK_STREAM) as second:
            ...     second.fileno() == first.fileno()
            False
        """
        return self.socket(family, type, proto, os.dup(fd))
