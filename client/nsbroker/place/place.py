"""`Place`: a namespace for event loops: its sockets and its names, as steps."""

from __future__ import annotations

import socket
from weakref import WeakKeyDictionary

from ..link.asking import open_sockets, plain_socket, read_resolver_files
from ..link.proof import netns_cookie
from ..link.waiting import run
from ..module.namespace import Namespace
from ..names import codec  # noqa: F401  # An event loop must not wait 50 ms for it at the first look-up.
from ..names.stepping import Resolver
from ..wire.messages import NamespaceRef, ResolverFiles, SocketSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from ..link.retry import Reach
    from ..link.waiting import Steps

    S = TypeVar("S", bound=socket.SocketType)

NONBLOCK = int(socket.SOCK_NONBLOCK)


class Place:
    """A namespace, by the way to its broker. Its methods mean what those of `Namespace` mean."""

    def __init__(self, reach: Reach, namespace: NamespaceRef, wait_s: float = 0) -> None:
        self._reach = reach
        self._namespace = namespace
        self._wait_s = wait_s
        self._resolver = Resolver(self.open_one, self._read_files, namespace if isinstance(namespace, str) else "")
        self.getaddrinfo = self._resolver.getaddrinfo
        self.getnameinfo = self._resolver.getnameinfo

    def spec(self, family: int, kind: int, proto: int = 0) -> SocketSpec:
        """Make the spec of a non-blocking socket."""
        return SocketSpec(self._namespace, int(family), int(kind) | NONBLOCK, int(proto))

    def open_one(self, family: int, kind: int, proto: int = 0) -> Steps[socket.socket]:
        """Open a plain non-blocking socket; the caller owns it."""
        return (yield from self.open([self.spec(family, kind, proto)]))[0]

    def open(self, specs: Sequence[SocketSpec]) -> Steps[list[socket.socket]]:
        """Open plain sockets, all or none; the caller owns them."""
        return open_sockets(self._reach, plain_socket, specs, self._wait_s)

    def open_as(self, take_fd: Callable[[SocketSpec, int], S], spec: SocketSpec) -> Steps[S]:
        """Open a socket that `take_fd` makes; the caller owns it."""
        return (yield from open_sockets(self._reach, take_fd, [spec], self._wait_s))[0]

    def has(self, sock: socket.socket) -> Steps[bool]:
        """Tell whether a socket is in this namespace. A UDP socket is opened to compare with."""
        with (yield from self.open_one(socket.AF_INET, socket.SOCK_DGRAM)) as own:
            return netns_cookie(own) == netns_cookie(sock)

    def open_now(self, family: int, kind: int, proto: int = 0) -> socket.socket:
        """Open a plain socket, and wait for it in this thread; the caller owns it."""
        return run(self.open_one(family, kind, proto))

    def _read_files(self) -> Steps[ResolverFiles]:
        return read_resolver_files(self._reach, self._namespace)


_places: WeakKeyDictionary[Namespace, Place] = WeakKeyDictionary()


def place_of(namespace: Namespace | NamespaceRef) -> Place:
    """Give the place of a namespace, which may be given as for `Namespace`. It goes by the namespace's own client."""
    if not isinstance(namespace, Namespace):
        namespace = Namespace(namespace)
    place = _places.get(namespace)
    if place is None:
        # The client's idle connections are shared with threads; each is in one call at a time.
        place = Place(namespace._client.reach, namespace._namespace, namespace._wait_s)
        _places[namespace] = place
    return place
