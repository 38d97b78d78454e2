"""The socket class of a namespace: `socket.socket`, except that it is born elsewhere, and looks up names there."""

from __future__ import annotations

import errno
import socket

from ..names.numeric import numeric_address
from ..wire.messages import SocketSpec

_FIRST_FREE_PORT = 1024
"""Below, bind(2) takes CAP_NET_BIND_SERVICE, or a lower net.ipv4.ip_unprivileged_port_start."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Self

    from _typeshed import ReadableBuffer

    from ..names.numeric import Address

    TakeFd = Callable[[SocketSpec, int], "NamespaceSocket"]


class NamespaceSocket(socket.socket):
    """A socket of one namespace; each `Namespace` has a subclass of its own, with `_open` and `_look_up` set.

    Signatures and meanings are those of `socket.socket`. Host names are looked up in the namespace: the socket module
    would ask the resolver of the caller's own.
    """

    __slots__ = ()

    @staticmethod
    def _open(take_fd: TakeFd, family: int, kind: int, proto: int) -> object:
        """Open a socket and give its descriptor to `take_fd`."""
        raise NotImplementedError

    @staticmethod
    def _look_up(host: str, family: int) -> tuple[Any, ...]:
        """Find a numeric address of the family for a host name."""
        raise NotImplementedError

    def _numeric(self, address: Address) -> Address:
        return numeric_address(self, address, self._look_up)

    def __init__(self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None) -> None:  # noqa: A002  # the socket module's own name
        if fileno is not None:
            super().__init__(family, type, proto, fileno)
            return
        family = socket.AF_INET if family == -1 else family
        type = socket.SOCK_STREAM if type == -1 else type  # noqa: A001  # as above
        self._open(self._take_fd, family, type, 0 if proto == -1 else proto)

    def _take_fd(self, spec: SocketSpec, fd: int) -> Self:
        # With the type's SOCK_NONBLOCK given, the socket module sets its timeout to match; else the program's default.
        super().__init__(spec.family, spec.type, spec.proto, fd)
        return self

    def connect(self, address: Address) -> None:
        """Connect to an address."""
        super().connect(self._numeric(address))

    def connect_ex(self, address: Address) -> int:
        """Connect to an address; return the errno."""
        return super().connect_ex(self._numeric(address))

    def bind(self, address: Address) -> None:
        """Bind to an address."""
        address = self._numeric(address)
        try:
            super().bind(address)
        except PermissionError as error:
            if isinstance(address, tuple) and address[1] in range(1, _FIRST_FREE_PORT):
                text = f"{error.strerror}: port {address[1]} (use create_server: then the broker binds it)"
                raise PermissionError(errno.EACCES, text) from error
            raise

    def sendto(self, data: ReadableBuffer, *flags_address: Any) -> int:
        """Send to an address, which is the last argument; flags may come before it."""
        if not 1 <= len(flags_address) <= 2:
            raise TypeError(f"sendto() takes 2 or 3 arguments ({1 + len(flags_address)} given)")
        flags = flags_address[0] if len(flags_address) == 2 else 0
        return super().sendto(data, flags, self._numeric(flags_address[-1]))

    def sendmsg(
        self,
        buffers: Iterable[ReadableBuffer],
        ancdata: Iterable[Any] = (),
        flags: int = 0,
        address: Address | None = None,
        /,
    ) -> int:
        """Send to an address, or to the connected one."""
        if address is not None:
            address = self._numeric(address)
        return super().sendmsg(buffers, ancdata, flags, address)

    def accept(self) -> tuple[Self, Any]:
        """Accept a connection: a socket of the same class, and so of the same namespace."""
        fd, address = self._accept()  # type: ignore[attr-defined]  # what socket.socket.accept is made of, since 3.4
        sock = type(self)(self.family, self.type, self.proto, fd)
        if socket.getdefaulttimeout() is None and self.gettimeout():
            sock.setblocking(True)
        return sock, address


def socket_class(
    opener: Callable[[TakeFd, int, int, int], object], look_up: Callable[[str, int], tuple[Any, ...]]
) -> type[NamespaceSocket]:
    """Make the class whose sockets `opener(take_fd, family, type, proto)` opens, and that finds names by `look_up`."""
    doc = NamespaceSocket.__doc__
    members = {"__slots__": (), "__doc__": doc, "_open": staticmethod(opener), "_look_up": staticmethod(look_up)}
    made: type[NamespaceSocket] = type("socket", (NamespaceSocket,), members)
    return made
