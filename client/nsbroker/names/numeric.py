"""Addresses that need no look-up: what the socket module would resolve in C, in the caller's own namespace.

`socket.connect(("name", 80))` asks the caller's resolver, and `%eth0` the caller's interfaces: both are leaks for a
socket of another namespace. So every address is made numeric here before the socket module sees it.
"""

from __future__ import annotations

import socket
from functools import lru_cache

_AF_INET = int(socket.AF_INET)
_AF_INET6 = int(socket.AF_INET6)
_TCP = int(socket.IPPROTO_TCP)
_SIOCGIFINDEX = 0x8933
"""Answers for the namespace of the socket it is asked on. Source: netdevice(7)."""
_IFNAMSIZ = 16
_SHORTHAND = frozenset("0123456789abcdefABCDEFxX.")

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    LookUp = Callable[[str, int], tuple[Any, ...]]

    from _typeshed import ReadableBuffer

    from .addrinfo import AddressInfo

    Address = tuple[Any, ...] | str | ReadableBuffer


class NameGivenError(socket.gaierror):
    """A host is a name, which nothing here looks up."""


def name_error(host: object) -> NameGivenError:
    """Make the exception for a host name."""
    text = f"host names are not looked up, since the answer would be the wrong namespace's: {host!r} is not numeric"
    return NameGivenError(socket.EAI_NONAME, text)


def refuse_name(host: str, family: int) -> tuple[Any, ...]:
    """Look up nothing: where there is no way to ask in the right namespace.

    Raises:
        socket.gaierror: always.
    """
    raise name_error(host)


def numeric_address(sock: socket.SocketType, address: Address, look_up: LookUp = refuse_name) -> Address:
    """Give the address for `sock` without anything left to look up; those of other families pass unchanged.

    As in the socket module "" means any address and, for IPv4, "<broadcast>" the broadcast address. "localhost" is
    the loopback address. `%scope` of an IPv6 address is looked up in the namespace of `sock`, and so are names, by
    `look_up(host, family)`, which gives a numeric address of that family.

    Raises:
        socket.gaierror: the host is a name that `look_up` does not find, or of the other family.
        OSError: the socket's namespace has no such interface.
    """
    family = sock.family
    if family not in (_AF_INET, _AF_INET6) or not isinstance(address, tuple) or len(address) < 2:
        return address  # What is no address at all is the socket module's to refuse.
    host = address[0]
    if isinstance(host, bytes | bytearray):
        host = host.decode("ascii", "replace")
    if not isinstance(host, str):
        return address
    literal, _, scope = host.partition("%")
    try:
        host = numeric_host(literal if family == _AF_INET6 else host, family)
    except NameGivenError:
        found = look_up(host, family)
        host, scope = found[0], str(found[3]) if len(found) == 4 and found[3] else ""
    if not scope or family == _AF_INET:
        return (host, *address[1:])
    port, flowinfo, scope_id = (*address[1:], 0, 0)[:3]
    return host, port, flowinfo, scope_id or interface_index(sock, scope)


def numeric_host(host: str, family: int) -> str:
    """Give a host, without scope, in the form that inet_pton(3) takes.

    Raises:
        socket.gaierror: it is a name, or of the other family.
    """
    if _is_numeric(host, family):
        return host
    if host == "":
        return "0.0.0.0" if family == _AF_INET else "::"
    if host == "<broadcast>" and family == _AF_INET:
        return "255.255.255.255"
    if host.lower() == "localhost":
        return "127.0.0.1" if family == _AF_INET else "::1"
    if _is_numeric(host, _AF_INET6 if family == _AF_INET else _AF_INET):
        # glibc's EAI_ADDRFAMILY; Python has the constant on no Linux of ours.
        raise socket.gaierror(-9, f"Address family for hostname not supported: {host!r}")
    if family == _AF_INET and _SHORTHAND.issuperset(host):
        try:
            return socket.inet_ntoa(socket.inet_aton(host))  # "127.1", as getaddrinfo(3) takes it
        except OSError:
            pass
    raise name_error(host)


def numeric_stream(host: object, port: object, family: int) -> list[AddressInfo] | None:
    """Give what getaddrinfo finds for a TCP connection to a numeric host and port; None where there is more to find."""
    if type(host) is not str or type(port) is not int or not 0 <= port <= 65535:
        return None
    if family != _AF_INET6 and _is_numeric(host, _AF_INET):
        return [(socket.AF_INET, socket.SOCK_STREAM, _TCP, "", (host, port))]
    if family != _AF_INET and _is_numeric(host, _AF_INET6):
        return [(socket.AF_INET6, socket.SOCK_STREAM, _TCP, "", (host, port, 0, 0))]
    return None


@lru_cache(1024)
def _is_numeric(host: str, family: int) -> bool:
    try:
        socket.inet_pton(family, host)
    except (OSError, ValueError):
        return False
    return True


def interface_index(sock: socket.SocketType, scope: str) -> int:
    """Give the index of a scope, an interface's name or a number, in the namespace of `sock`.

    Raises:
        OSError: there is no such interface (ENODEV).
    """
    import fcntl

    if scope.isdecimal():
        return int(scope)
    name = scope.encode()
    if len(name) >= _IFNAMSIZ:
        raise name_error(scope)
    answer = fcntl.ioctl(sock.fileno(), _SIOCGIFINDEX, name.ljust(_IFNAMSIZ, b"\0") + bytes(24))
    return int.from_bytes(answer[_IFNAMSIZ : _IFNAMSIZ + 4], "little" if _LITTLE else "big")


_LITTLE = socket.htons(1) != 1


def numeric_port(port: object) -> int:
    """Give a port that may also be a string of digits or None, as in getaddrinfo.

    Raises:
        socket.gaierror: it is the name of a service.
    """
    if port is None:
        return 0
    if isinstance(port, str | bytes) and port.isdigit():
        port = int(port)
    if not isinstance(port, int):
        raise socket.gaierror(socket.EAI_SERVICE, f"services are not looked up: {port!r} is no port number")
    if not 0 <= port <= 65535:
        raise OverflowError("port must be 0-65535.")
    return port
