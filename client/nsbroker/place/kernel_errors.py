"""The error that socket(2) itself has for a family, type and protocol that no grant can name.

Programs probe by errno. A grant can't name such a socket, so the broker refuses it as it refuses every other socket
without a grant, and never asks the kernel for it: the kernel might look for a module to load. Your own process may ask.
"""

from __future__ import annotations

import errno
import socket

from ..link.errors import AccessDeniedError, BrokerProtocolError
from ..wire.kind_names import KIND_OF_TRIPLE

REFUSALS = (AccessDeniedError, BrokerProtocolError, ValueError, TypeError)
"""The errors of a request for a socket that may be impossible. Values out of range don't even fit into a request."""

_FLAGS = int(socket.SOCK_NONBLOCK) | int(socket.SOCK_CLOEXEC)
_PACKET = int(socket.AF_PACKET)
_ETHERTYPES = 0xFFFF
_FAMILIES = frozenset(family for family, _, _ in KIND_OF_TRIPLE)
_UNKNOWN = frozenset({errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT, errno.EPROTOTYPE, errno.EINVAL, errno.ENODEV})


def kernel_error(family: int, type: int, proto: int) -> Exception | None:  # noqa: A002  # the socket module's own name
    """Return the error of the socket module for a socket that can't exist, in whichever namespace.

    This makes the socket in the caller's own namespace and closes it, except for kinds that a grant can name.

    Returns:
        The error. `None` means that the kernel makes such sockets, or that it can't be known here.
    """
    try:
        if (family, type & ~_FLAGS, proto) not in KIND_OF_TRIPLE:
            # A packet socket with a protocol would receive packets at once. All protocols are the same to socket(2).
            socket.SocketType(family, type, proto & ~_ETHERTYPES if family == _PACKET else proto).close()
    except (TypeError, OverflowError) as error:
        return error
    except OSError as error:
        # A sandbox that forbids the families of IP says EAFNOSUPPORT, too.
        if error.errno in _UNKNOWN or (error.errno == errno.EAFNOSUPPORT and family not in _FAMILIES):
            return error
        if error.errno == errno.EPERM and min(type, proto) < 0:
            return error  # No request can carry these numbers, so the policy has no say.
    return None
