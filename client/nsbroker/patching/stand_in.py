"""The class that takes the place of `socket.socket`."""

from __future__ import annotations

import errno
import os
import socket

from ..module.sockets import NamespaceSocket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..module.namespace import Namespace

ORIGINAL = socket.socket

_BY_THE_BROKER = frozenset({socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, socket.AF_PACKET})
_LOCAL = frozenset(
    {socket.AF_UNIX, *(getattr(socket, name) for name in ("AF_ALG", "AF_VSOCK") if hasattr(socket, name))}
)
"""Families that belong to no network namespace."""


class _AnySocket(type):
    """What is a socket for the original class is one for the stand-in: TLS sockets, those of before, accepted ones."""

    def __instancecheck__(cls, instance: object) -> bool:
        # A subclass that somebody derives from the stand-in has only its own.
        return isinstance(instance, ORIGINAL) if "_is_stand_in" in cls.__dict__ else super().__instancecheck__(instance)


def stand_in(namespace: Namespace) -> type[NamespaceSocket]:
    """Make the class: sockets of network families are the namespace's, local ones stay what they are.

    Any other family is refused with EAFNOSUPPORT: its sockets would be the program's own namespace's.
    """
    base: type[NamespaceSocket] = namespace.socket

    class Socket(base, metaclass=_AnySocket):  # type: ignore[misc, valid-type]  # a class made at run time
        __slots__ = ()
        _is_stand_in = True

        def __init__(self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None) -> None:  # noqa: A002  # the socket module's own name
            if fileno is not None or family == -1 or family in _BY_THE_BROKER:
                super().__init__(family, type, proto, fileno)
            elif family in _LOCAL:
                ORIGINAL.__init__(self, family, type, proto)
            else:
                raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))

    Socket.__name__ = Socket.__qualname__ = "socket"
    made: type[NamespaceSocket] = Socket
    return made
