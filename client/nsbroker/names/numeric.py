"""Hosts that need no look-up: numeric addresses.

`socket.connect(("name", 80))` asks the resolver of the caller's own namespace, and `%eth0` is looked up among its
interfaces. For a socket of another namespace, both would be leaks. So this module makes every address numeric before
the socket module sees it.
"""

from __future__ import annotations

import errno
import os
import socket
from functools import lru_cache

_AF_INET = int(socket.AF_INET)
_AF_INET6 = int(socket.AF_INET6)
_TCP = int(socket.IPPROTO_TCP)
_SIOCGIFINDEX = 0x8933
"""Answers for the namespace of the socket that it is asked on. Source: netdevice(7)."""
_IFNAMSIZ = 16
_INDEX_DIGITS = 10
"""Of an interface's index. int() takes no more than some thousand digits."""
_IPV4_CHARACTERS = frozenset("0123456789abcdefABCDEFxX.")
_LITTLE = socket.htons(1) != 1

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from _typeshed import ReadableBuffer

    SocketAddress: TypeAlias = tuple[str, int] | tuple[str, int, int, int]
    AddressInfo: TypeAlias = tuple[socket.AddressFamily, socket.SocketKind, int, str, SocketAddress]
    Address: TypeAlias = tuple[Any, ...] | str | ReadableBuffer
    LookUp: TypeAlias = Callable[[str, int], tuple[Any, ...]]
    """Returns a numeric address of a family for (host, family)."""


class NameGivenError(socket.gaierror):
    """A host is a name, and this code looks up no names."""


def name_error(host: object) -> NameGivenError:
    """Return the exception for a host name."""
    text = "host names are not looked up here, since the answer would be the wrong namespace's: give an address"
    return NameGivenError(socket.EAI_NONAME, f"{host!r} is not a numeric address, and {text}")


def refuse_name(host: str, family: int) -> tuple[Any, ...]:
    """Look up no name. This is for callers that can't ask in the right namespace.

    Raises:
        socket.gaierror: always.
    """
    raise name_error(host)


def numeric_address(sock: socket.SocketType, address: Address, look_up: LookUp = refuse_name) -> Address:
    """Return the address for `sock` in numeric form. Addresses of other families than IPv4 and IPv6 stay as they are.

    As in the socket module, "" means any address, and for IPv4, "<broadcast>" means the broadcast address. `%scope` of
    an IPv6 address is looked up in the namespace of `sock`, and a name by `look_up`, also "localhost".

    Raises:
        socket.gaierror: `look_up` does not find the name, or the host is of the other family.
        OSError: the socket's namespace has no such interface.
    """
    family = sock.family
    if family not in (_AF_INET, _AF_INET6) or not isinstance(address, tuple) or len(address) < 2:
        return address  # The socket module refuses it if it is not an address.
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
    """Return a host, given without scope, in the form that inet_pton(3) takes.

    Raises:
        NameGivenError: it is a name.
        socket.gaierror: it is of the other family.
    """
    if _is_numeric(host, family):
        return host
    if host == "":
        return "0.0.0.0" if family == _AF_INET else "::"
    if host == "<broadcast>" and family == _AF_INET:
        return "255.255.255.255"
    if _is_numeric(host, _AF_INET6 if family == _AF_INET else _AF_INET):
        # glibc's EAI_ADDRFAMILY, which the socket module lacks on Linux.
        raise socket.gaierror(-9, f"Address family for hostname not supported: {host!r}")
    if family == _AF_INET and (address := ipv4_address(host)):
        return address
    raise name_error(host)


def is_name(host: str, family: int) -> bool:
    """Return whether a host is a name, for a socket of a family. The scope of an IPv6 address does not count."""
    try:
        numeric_host(host.partition("%")[0] if family == _AF_INET6 else host, family)
    except NameGivenError:
        return True
    except socket.gaierror:
        pass  # It is an address of the other family.
    return False


def ipv4_address(host: str) -> str | None:
    """Return an IPv4 address in its usual form. It may be short, such as "127.1". Return `None` for other hosts."""
    if not _IPV4_CHARACTERS.issuperset(host):
        return None  # inet_aton(3) would accept trailing garbage.
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except OSError:
        return None


def numeric_stream(host: object, port: object, family: int) -> list[AddressInfo] | None:
    """Return the result of getaddrinfo for TCP if host and port are plain numbers, otherwise `None`."""
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
    """Return the index of an interface of the namespace of `sock`, which is given by its name or index.

    Raises:
        OSError: there is no such interface (ENODEV).
    """
    import fcntl

    if scope.isascii() and scope.isdecimal() and len(scope) <= _INDEX_DIGITS and int(scope) < 2**31:
        return int(scope)
    name = scope.encode()
    if len(name) >= _IFNAMSIZ or b"\0" in name:
        raise OSError(errno.ENODEV, f"{os.strerror(errno.ENODEV)}: {scope!r} is the name of no interface")
    answer = fcntl.ioctl(sock.fileno(), _SIOCGIFINDEX, name.ljust(_IFNAMSIZ, b"\0") + bytes(24))
    return int.from_bytes(answer[_IFNAMSIZ : _IFNAMSIZ + 4], "little" if _LITTLE else "big")


def numeric_port(port: object) -> int:
    """Return a port, which may also be a string of digits or `None` as in getaddrinfo.

    Raises:
        socket.gaierror: it is the name of a service.
    """
    if port is None:
        return 0
    if isinstance(port, str | bytes) and port.isdigit():
        port = int(port)
    if not isinstance(port, int):
        raise socket.gaierror(socket.EAI_SERVICE, f"services are not looked up here: give a port number, not {port!r}")
    if not 0 <= port <= 65535:
        raise OverflowError("port must be 0-65535.")
    return port
