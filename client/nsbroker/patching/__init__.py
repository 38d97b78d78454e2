"""`patch`: the whole program's `socket` module, pointed at a namespace. Fails closed."""

from __future__ import annotations

import socket
import ssl
import sys

from ..module.namespace import Namespace
from ..module.tls import ssl_socket_class
from .bypass import Guard, PatchError, refuse_loaded
from .stand_in import stand_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from ..wire.messages import NamespaceRef

__all__ = ["Patch", "PatchError", "patch"]

_FUNCTIONS = (
    "create_server", "getaddrinfo", "getfqdn", "gethostbyaddr", "gethostbyname", "gethostbyname_ex", "getnameinfo",
    "if_indextoname", "if_nameindex", "if_nametoindex",
)  # fmt: skip
"""What the namespace has in place of the socket module's. (Its create_connection is made of these.)"""

_active: list[Patch] = []


class Patch:
    """A patch that is in force, until `undo` or the end of its `with` block."""

    def __init__(self, namespace: Namespace) -> None:
        self._replaced: list[tuple[object, str, object]] = []
        self._guard = Guard()
        originals = [socket.socket, socket.create_connection, *(getattr(socket, name) for name in _FUNCTIONS)]
        refuse_loaded(originals)
        sys.meta_path.insert(0, self._guard)
        self._replace(socket, "socket", stand_in(namespace))
        for name in _FUNCTIONS:
            self._replace(socket, name, getattr(namespace, name))
        self._replace(ssl.SSLContext, "sslsocket_class", ssl_socket_class(namespace._look_up))

    def _replace(self, owner: object, name: str, value: object) -> None:
        self._replaced.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    def undo(self) -> None:
        """Put everything back. Sockets that were made stay in the namespace."""
        if self in _active:
            _active.remove(self)
            sys.meta_path.remove(self._guard)
            while self._replaced:
                setattr(*self._replaced.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.undo()


def patch(namespace: Namespace | NamespaceRef) -> Patch:
    """Point this program's whole `socket` module at a namespace; call it before other imports.

    Everything that makes its sockets by Python's socket module is then in the namespace, names included. What would
    pass it by is refused, by name, whether it is imported already or later: libraries that connect in C, and modules
    that did `from socket import socket` before. Programs that are started are not covered: `nsbroker-get NS run` is
    for these.

    Returns:
        The patch, which is undone by its `undo`, or as a context manager.

    Raises:
        PatchError: something that would pass it by is imported already.
        RuntimeError: another patch is in force.
    """
    if _active:
        raise RuntimeError("another patch is in force: one program, one namespace; undo it first")
    _active.append(Patch(namespace if isinstance(namespace, Namespace) else Namespace(namespace)))
    return _active[0]
