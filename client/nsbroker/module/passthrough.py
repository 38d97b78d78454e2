"""The names of the `socket` module that a `Namespace` passes on: constants and pure functions, by an allow-list."""

from __future__ import annotations

import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PASSED = frozenset({
    "AddressFamily", "AddressInfo", "CMSG_LEN", "CMSG_SPACE", "MsgFlag", "SocketIO", "SocketKind", "SocketType",
    "close", "dup", "error", "gaierror", "getdefaulttimeout", "gethostname", "has_dualstack_ipv6", "has_ipv6",
    "herror", "htonl", "htons", "inet_aton", "inet_ntoa", "inet_ntop", "inet_pton", "ntohl", "ntohs",
    "setdefaulttimeout", "socketpair", "timeout",
})  # fmt: skip


def pass_on(name: str) -> Any:
    """Return the value that a `Namespace` has under a name of the socket module.

    Raises:
        AttributeError: the socket module has no such name, or it acts in the caller's own namespace.
    """
    value = getattr(socket, name, None)
    if name in _PASSED and value is not None:
        return value
    if name.isupper() and isinstance(value, int):
        return value
    known = f": socket.{name} would act in the program's own namespace" if value is not None else ""
    raise AttributeError(f"a Namespace has no attribute {name!r}{known}")
