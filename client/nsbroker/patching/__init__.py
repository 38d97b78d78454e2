"""`patch`: points the whole program's `socket` module at a namespace, and fails closed.

Imports module, guards, place and link.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import socket
import ssl
from multiprocessing import reduction, spawn

from ..link.identity import LOCAL_FAMILIES
from ..module.namespace import Namespace
from ..module.sockets import NamespaceSocket
from ..module.tls import ssl_socket_class
from ..place.kernel_errors import kernel_error
from .bypass import PatchError, PatchGuard, interpreters
from .children import InChildren
from .files import NamespaceFiles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Self

    from ..wire.messages import NamespaceRef

__all__ = ["Patch", "PatchError", "patch"]

_FUNCTIONS = (
    "getaddrinfo", "getfqdn", "gethostbyaddr", "gethostbyname", "gethostbyname_ex", "getnameinfo",
    "getprotobyname", "getservbyname", "getservbyport", "if_indextoname", "if_nameindex", "if_nametoindex",
)  # fmt: skip
"""The functions that the namespace replaces. (The socket module's own create_connection calls them.)"""

_ORIGINAL = socket.socket
_BY_THE_BROKER = frozenset({socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, socket.AF_PACKET})
_active: list[Patch] = []
_inherited: list[Patch] = []
"""The patch that this child of `multiprocessing` has from its parent, until the main module asks for it."""


class Patch:
    """A patch in force, until `undo` or the end of its `with` block. `patch` makes it.

    Example:
        >>> in_blue = nsbroker.patch("blue")
        >>> with in_blue:
        ...     connection = http.client.HTTPConnection("www.example.org")
        ...     connection.connect()
    """

    def __init__(self, namespace: Namespace, allow: Iterable[str] = ()) -> None:
        self._place = namespace._place
        self._replaced: list[tuple[object, str, object]] = []
        files = NamespaceFiles(namespace._place)
        self._guard = PatchGuard(namespace._place, files, allow)
        self._guard.refuse_loaded()
        names = ("socket", "create_connection", "create_server", *_FUNCTIONS)
        self._guard.refuse_taken([getattr(socket, name) for name in names])
        self._guard.start()
        stand_in = _stand_in(namespace)
        self._replace(socket, "socket", stand_in)
        # multiprocessing.reduction knows the class that it found at its import.
        reduction.register(stand_in, reduction._reduce_socket)  # type: ignore[attr-defined]  # typeshed leaves it out
        self._replace(socket, "create_server", _server_maker(namespace))
        for name in _FUNCTIONS:
            self._replace(socket, name, getattr(namespace, name))
        self._replace(ssl.SSLContext, "sslsocket_class", ssl_socket_class(namespace._place))
        for module in (builtins, io):
            self._replace(module, "open", files.open)
        if (starts := interpreters()) is not None:
            self._replace(starts, "create", self._guard.refuse_interpreter)
        children = InChildren(namespace._place, self._guard.allow, _patch_again)
        self._replace(spawn, "get_preparation_data", children.get_preparation_data)

    def _replace(self, owner: object, name: str, value: object) -> None:
        self._replaced.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    def _is_for(self, namespace: Namespace) -> bool:
        """Return whether the patch is for this namespace, by the same name, path or descriptor."""
        ours, theirs = self._place.namespace, namespace._place.namespace
        if isinstance(ours, int) and isinstance(theirs, int):
            return os.path.sameopenfile(ours, theirs)
        return ours == theirs

    def undo(self) -> None:
        """Restore the socket module. Sockets that were made before stay in the namespace."""
        if self in _active:
            _active.remove(self)
            self._guard.stop()
            while self._replaced:
                setattr(*self._replaced.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.undo()


def patch(namespace: Namespace | NamespaceRef, *, allow: Iterable[str] = ()) -> Patch:
    """Point this program's whole `socket` module at a namespace. Call it before other imports.

    From then on, every library that makes its sockets by Python's socket module makes them in the namespace, and looks
    up names there. A library that reads /etc/resolv.conf or /etc/hosts gets the namespace's text. The children of
    `multiprocessing` have the patch as well.

    The patch refuses libraries that it can't cover, whether they are loaded already or later: libraries that connect in
    C, however they are loaded, and modules that did `from socket import socket` before. It does not cover other
    programs that you start. For these, use `nsbroker-get NS run`.

    Args:
        namespace: a `Namespace`, or an argument for `Namespace`.
        allow: names of packages that may leave the namespace, for example "psycopg2".

    Returns:
        The patch. To end it, call its `undo`, or use it as a context manager. In a child of `multiprocessing` that runs
        the main module again, this is the patch that the child has from its parent.

    Raises:
        PatchError: the program has loaded a library that the patch can't cover.
        RuntimeError: another patch is in force.

    Example:
        >>> with nsbroker.patch("blue"):
        ...     response = urllib.request.urlopen("http://www.example.org/peer")
        >>> response.status
        200
    """
    wanted = namespace if isinstance(namespace, Namespace) else Namespace(namespace)
    if _inherited and _inherited[0]._is_for(wanted):
        return _inherited.pop()
    if _active:
        raise RuntimeError("another patch is in force, and a program has one socket module: undo the other patch first")
    _active.append(Patch(wanted, allow))
    return _active[0]


def _patch_again(reference: Any, allow: tuple[str, ...], how: dict[str, Any]) -> None:
    """Patch a child of `multiprocessing`, as `InChildren` asks it to."""
    namespace = Namespace(reference if isinstance(reference, str) else reference.detach(), **how)
    # The server of forkserver has run the main module before.
    if not (_active and _active[0]._is_for(namespace)):
        _inherited.append(patch(namespace, allow=allow))


def _server_maker(namespace: Namespace) -> Callable[..., socket.socket]:
    """Return the function that replaces `socket.create_server`. The broker binds, except for local sockets."""
    make_local = socket.create_server

    def create_server(address: Any, *, family: int = socket.AF_INET, **how: Any) -> socket.socket:
        make = make_local if family in LOCAL_FAMILIES else namespace.create_server
        return make(address, family=family, **how)

    return create_server


class _AnySocket(type):
    """Makes every socket an instance of the stand-in: TLS sockets, earlier sockets, accepted sockets."""

    def __instancecheck__(cls, instance: object) -> bool:
        # A class that a program derives from the stand-in has only its own instances.
        return (
            isinstance(instance, _ORIGINAL) if "_is_stand_in" in cls.__dict__ else super().__instancecheck__(instance)
        )


def _stand_in(namespace: Namespace) -> type[NamespaceSocket]:
    """Return the class that replaces `socket.socket`.

    Its sockets of network families are in the namespace, and local sockets are ordinary ones. Any other family fails
    with EAFNOSUPPORT, since its sockets would be in the program's own namespace.
    """
    base: type[NamespaceSocket] = namespace.socket

    class Socket(base, metaclass=_AnySocket):  # type: ignore[misc, valid-type]  # a class made at run time
        __slots__ = ()
        _is_stand_in = True

        def __init__(self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None) -> None:  # noqa: A002  # the socket module's own name
            if fileno is not None or family == -1 or family in _BY_THE_BROKER:
                super().__init__(family, type, proto, fileno)
            elif family in LOCAL_FAMILIES:
                _ORIGINAL.__init__(self, family, type, proto)
            else:
                unknown = OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
                raise kernel_error(family, type, proto) or unknown

    Socket.__name__ = Socket.__qualname__ = "socket"
    made: type[NamespaceSocket] = Socket
    return made
