"""The class of a namespace's unconnected sockets. It is `socket.socket`, but with its look-ups in the namespace."""

from __future__ import annotations

import errno
import socket

from ..drivers.thread import run
from ..names.numeric import numeric_address
from ..place.kernel_errors import REFUSALS, kernel_error
from ..place.options import expect_set_already
from ..place.place import Place
from ..wire.messages import SocketSpec

_FIRST_FREE_PORT = 1024
"""For lower ports, bind(2) needs CAP_NET_BIND_SERVICE, or a lower net.ipv4.ip_unprivileged_port_start."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from _typeshed import ReadableBuffer

    from ..names.numeric import Address


class NamespaceSocket(socket.socket):
    """A socket of one namespace. Each `Namespace` has its own subclass, with `_place` set.

    Signatures, results and errors are those of `socket.socket`. Host names are looked up in the namespace, while the
    socket module would ask the resolver of the caller's own namespace. Accepted sockets are plain, because they have
    no more names to look up.
    """

    __slots__ = ()

    _place: Place

    def _look_up(self, host: str, family: int) -> tuple[Any, ...]:
        return run(self._place.look_up(host, family))

    def _numeric(self, address: Address) -> Address:
        return numeric_address(self, address, self._look_up)

    def __init__(self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None) -> None:  # noqa: A002  # the socket module's own name
        if fileno is not None:
            super().__init__(family, type, proto, fileno)
            return
        family = socket.AF_INET if family == -1 else family
        type = socket.SOCK_STREAM if type == -1 else type  # noqa: A001  # as above
        spec = self._place.blocking_spec(family, type, 0 if proto == -1 else proto)
        # Not this object: after an interrupt, it would keep the number of a descriptor that `open` has closed.
        try:
            [plain] = run(self._place.open(_plain_socket, (spec,)))
        except REFUSALS as error:
            if impossible := kernel_error(family, type, spec.proto):
                raise impossible from error
            raise
        # If the type has SOCK_NONBLOCK, the socket module sets a timeout of 0, otherwise the program's default.
        super().__init__(family, type, spec.proto, plain.detach())

    def connect(self, address: Address) -> None:
        """Connect to an address."""
        super().connect(self._numeric(address))

    def connect_ex(self, address: Address) -> int:
        """Connect to an address. Return the errno."""
        return super().connect_ex(self._numeric(address))

    def bind(self, address: Address) -> None:
        """Bind to an address.

        Raises:
            PermissionError: the port is below 1024. `Namespace.create_server` lets the broker bind.
        """
        address = self._numeric(address)
        try:
            super().bind(address)
        except PermissionError as error:
            if isinstance(address, tuple) and address[1] in range(1, _FIRST_FREE_PORT):
                text = f"{error.strerror}: port {address[1]} is for root (use create_server: then the broker binds it)"
                raise PermissionError(errno.EACCES, text) from error
            raise

    def sendto(self, data: ReadableBuffer, *flags_address: Any) -> int:
        """Send to an address, which is the last argument. Flags may come before it."""
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

    def setsockopt(self, *args: Any) -> None:
        """Set an option. One that only the broker can set may be set again to the value that it has from birth."""
        try:
            super().setsockopt(*args)
        except PermissionError as error:
            expect_set_already(self, error, args)


def _plain_socket(spec: SocketSpec, fd: int) -> socket.SocketType:
    return socket.SocketType(spec.family, spec.type, spec.proto, fd)


def socket_class(place: Place) -> type[NamespaceSocket]:
    """Make the class of the sockets that a place opens."""
    members = {"__slots__": (), "__doc__": NamespaceSocket.__doc__, "_place": place}
    made: type[NamespaceSocket] = type("socket", (NamespaceSocket,), members)
    return made
