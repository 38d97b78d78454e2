"""Event loops of asyncio whose connections, servers and look-ups are in a namespace."""

from __future__ import annotations

import asyncio
import inspect
import socket
import weakref
from typing import TYPE_CHECKING

from ..drivers.asyncio import run
from ..names.numeric import NameGivenError, numeric_address
from . import _asyncio
from ._asyncio_guard import LoopGuard
from ._place import place_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Self

    from ..module.namespace import Namespace
    from ..place.place import Place
    from ..wire.messages import NamespaceRef

    Base = asyncio.AbstractEventLoop
else:
    Base = object

_INET = (socket.AF_INET, socket.AF_INET6)


def _guarded(name: str) -> Any:
    """Return a method that refuses sockets of the program's own namespace, and calls the loop's method."""

    async def method(self: NamespaceLoop, sock: Any, *args: Any, **options: Any) -> Any:
        self._guard.refuse_own(sock)
        return await getattr(super(NamespaceLoop, self), name)(sock, *args, **options)

    method.__name__ = name
    return method


class NamespaceLoop(Base):
    """Overrides the methods of a loop that make sockets or look up names. Arguments and results are the loop's own.

    A socket that you give as `sock` stays in its own namespace. The loop refuses other network sockets of the program's
    own namespace, since a library that has one left the namespace of the loop. `allow` makes an exception.
    """

    _place: Place
    _allow: tuple[str, ...]
    _guard: LoopGuard

    def __new__(cls, *_: Any, **__: Any) -> Self:
        """Make a loop, and refuse libraries that would leave its namespace."""
        guard = LoopGuard(cls._place, cls._allow)
        guard.refuse_loaded()
        loop = super().__new__(cls)
        loop._guard = guard
        guard.start()
        # A loop that the program forgets to close ends with its last reference.
        weakref.finalize(loop, guard.stop).atexit = False
        return loop

    def allow(self, sock: Any) -> None:
        """Let this loop use a socket of the program's own namespace, and the connections that it accepts there.

        Args:
            sock: the socket, or its descriptor.
        """
        self._guard.allow_socket(sock)

    def close(self) -> None:
        """Close the loop. From here on, it refuses no library."""
        super().close()
        self._guard.stop()

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]  # typeshed's TypeVarTuple
        """Call a function in a thread. In the default executor, it may not leave the namespace of the loop."""
        if executor is None and not inspect.iscoroutinefunction(func) and not asyncio.iscoroutine(func):
            return super().run_in_executor(None, self._guard.work, func, *args)
        return super().run_in_executor(executor, func, *args)

    def add_reader(self, fd: Any, callback: Any, *args: Any) -> Any:  # type: ignore[override]  # typeshed's TypeVarTuple
        """Watch a descriptor."""
        self._guard.refuse_own(fd)
        return super().add_reader(fd, callback, *args)

    def add_writer(self, fd: Any, callback: Any, *args: Any) -> Any:  # type: ignore[override]  # typeshed's TypeVarTuple
        """Watch a descriptor."""
        self._guard.refuse_own(fd)
        return super().add_writer(fd, callback, *args)

    async def connect_read_pipe(self, protocol_factory: Any, pipe: Any) -> Any:
        """Read from a pipe."""
        self._guard.refuse_own(pipe)
        return await super().connect_read_pipe(protocol_factory, pipe)

    async def connect_write_pipe(self, protocol_factory: Any, pipe: Any) -> Any:
        """Write to a pipe."""
        self._guard.refuse_own(pipe)
        return await super().connect_write_pipe(protocol_factory, pipe)

    async def create_connection(
        self, protocol_factory: Callable[[], Any], host: Any = None, port: Any = None, *, sock: Any = None, **how: Any
    ) -> Any:
        """Connect in the namespace."""
        make = super().create_connection
        if sock is not None or (host is None and port is None):
            self._guard.refuse_made_by_library(sock)
            return await make(protocol_factory, host, port, sock=sock, **how)
        return await _asyncio.create_connection(make, self._place, protocol_factory, host, port, **how)

    async def create_server(
        self, protocol_factory: Callable[[], Any], host: Any = None, port: Any = None, *, sock: Any = None, **how: Any
    ) -> Any:
        """Listen in the namespace. The broker binds."""
        make = super().create_server
        if sock is not None or (host is None and port is None):
            self._guard.refuse_made_by_library(sock)
            return await make(protocol_factory, host, port, sock=sock, **how)
        return await _asyncio.create_server(make, self._place, protocol_factory, host, port, **how)

    async def connect_accepted_socket(self, protocol_factory: Any, sock: Any, **how: Any) -> Any:
        """Serve a connection that the program has accepted."""
        self._guard.refuse_made_by_library(sock)
        return await super().connect_accepted_socket(protocol_factory, sock, **how)

    async def create_datagram_endpoint(
        self,
        protocol_factory: Callable[[], Any],
        local_addr: Any = None,
        remote_addr: Any = None,
        *,
        sock: Any = None,
        family: int = 0,
        **how: Any,
    ) -> Any:
        """Open a UDP socket in the namespace."""
        make = super().create_datagram_endpoint
        if sock is not None:
            self._guard.refuse_made_by_library(sock)
            return await make(protocol_factory, local_addr, remote_addr, sock=sock, family=family, **how)
        if family == socket.AF_UNIX:
            return await make(protocol_factory, local_addr, remote_addr, family=family, **how)
        return await _asyncio.create_datagram_endpoint(
            make, self._place, protocol_factory, local_addr, remote_addr, family=family, **how
        )

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002  # the loop's own name
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        """Look up a name in the namespace."""
        return await run(self._place.getaddrinfo(host, port, family, type, proto, flags))

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> Any:
        """Look up an address in the namespace."""
        return await run(self._place.getnameinfo(sockaddr, flags))

    sock_recv = _guarded("sock_recv")
    sock_recv_into = _guarded("sock_recv_into")
    sock_recvfrom = _guarded("sock_recvfrom")
    sock_recvfrom_into = _guarded("sock_recvfrom_into")
    sock_sendall = _guarded("sock_sendall")
    sock_sendfile = _guarded("sock_sendfile")

    async def sock_accept(self, sock: Any) -> Any:
        """Accept a connection."""
        self._guard.refuse_own(sock)
        made = await super().sock_accept(sock)
        if self._guard.allows(sock):
            self._guard.allow_socket(made[0])
        return made

    async def sock_connect(self, sock: Any, address: Any) -> None:
        """Connect a socket of a namespace. A name in the address is looked up there.

        Raises:
            WrongNamespaceError: the socket is in the program's own namespace.
        """
        self._guard.refuse_own(sock)
        await super().sock_connect(sock, await self._numeric(sock, address))

    async def sock_sendto(self, sock: Any, data: Any, address: Any) -> int:
        """Send a datagram. A name in the address is looked up in the namespace of the socket."""
        self._guard.refuse_own(sock)
        return await super().sock_sendto(sock, data, await self._numeric(sock, address))

    async def _numeric(self, sock: Any, address: Any) -> Any:
        """Return the numeric form of an address. This waits only for a name."""
        if sock.family not in _INET:
            return address
        try:
            return numeric_address(sock, address)
        except NameGivenError:
            place = getattr(sock, "_place", None)  # A socket of `Namespace.socket` knows its own.
            if place is None:
                if not await run(self._place.has(sock)):
                    raise
                place = self._place
        return await _asyncio.resolve(place, sock, address)


def loop_factory(
    namespace: Namespace | NamespaceRef,
    loop_class: type[asyncio.AbstractEventLoop] = asyncio.SelectorEventLoop,
    *,
    allow: Iterable[str] = (),
) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return a factory of event loops whose connections, servers, datagram endpoints and look-ups are in a namespace.

    The loop refuses, by name, libraries that would leave the namespace: a library that gives it a network socket of the
    program's own namespace, one that looks up names by the socket module, also in the loop's default executor, and one
    that connects in C. The last kind can't be loaded as long as the loop exists. Sockets of other namespaces are
    welcome, and so is each socket that you pass as `sock=` or name by `loop.allow(sock)`.

    Args:
        namespace: a `Namespace`, or an argument for `Namespace`.
        loop_class: the base class of the loops: `asyncio.SelectorEventLoop`, or `uvloop.Loop`.
        allow: names of packages that may leave the namespace, for example "psycopg2".

    Returns:
        An argument for `asyncio.Runner(loop_factory=)`. It raises BypassError if the program has loaded a library that
        connects in C.

    Example:
        >>> with asyncio.Runner(loop_factory=loop_factory("blue")) as runner:
        ...     reader, writer = runner.run(asyncio.open_connection("www.example.org", 80))
        ...     writer.close()
    """
    members = {"_place": place_of(namespace), "_allow": tuple(allow), "__doc__": NamespaceLoop.__doc__}
    made: type[asyncio.AbstractEventLoop] = type("NamespaceEventLoop", (NamespaceLoop, loop_class), members)
    return made
