"""Which names of the `socket` module a `Namespace` passes on: an allow-list.

Constants and pure functions pass. What could look up a name would do so in the caller's own namespace, and raises.
"""

from __future__ import annotations

import errno
import os
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_PASSED = frozenset({
    "AddressFamily", "AddressInfo", "CMSG_LEN", "CMSG_SPACE", "MsgFlag", "SocketIO", "SocketKind", "SocketType",
    "close", "dup", "error", "gaierror", "getdefaulttimeout", "gethostname", "has_dualstack_ipv6", "has_ipv6",
    "herror", "htonl", "htons", "inet_aton", "inet_ntoa", "inet_ntop", "inet_pton", "ntohl", "ntohs",
    "setdefaulttimeout", "socketpair", "timeout",
})  # fmt: skip
_LOOKUPS = frozenset({
    "getaddrinfo", "getfqdn", "gethostbyaddr", "gethostbyname", "gethostbyname_ex", "getnameinfo", "getprotobyname",
    "getservbyname", "getservbyport",
})  # fmt: skip
_INTERFACES = frozenset({"if_indextoname", "if_nameindex", "if_nametoindex"})


def pass_on(name: str) -> Any:
    """Give what a `Namespace` has under a name of the socket module.

    Raises:
        AttributeError: the socket module has no such name, or it is not passed on.
    """
    value = getattr(socket, name, None)
    if name in _PASSED and value is not None:
        return value
    if name.isupper() and isinstance(value, int):
        return value
    if name in _LOOKUPS:
        return _refuse_lookup
    if name in _INTERFACES:
        return _refuse_interface
    known = f": socket.{name} would act in the program's own namespace" if value is not None else ""
    raise AttributeError(f"a Namespace has no attribute {name!r}{known}")


def _refuse_lookup(*args: object, **_: object) -> NoReturn:
    what = repr(args[0]) if args else "nothing"
    text = f"names are not looked up, since the answer would be the wrong namespace's: {what}"
    raise socket.gaierror(socket.EAI_NONAME, text)


def _refuse_interface(*args: object, **_: object) -> NoReturn:
    text = f"{os.strerror(errno.EOPNOTSUPP)}: interfaces are not looked up, since they would be the wrong namespace's"
    raise OSError(errno.EOPNOTSUPP, text)
