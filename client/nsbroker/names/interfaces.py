"""What a socket can tell of its namespace, without privileges and without a packet: interfaces, addresses, routes."""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
from array import array
from functools import cache

from .numeric import interface_index

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from ctypes import CDLL

    from .actions import SocketAddress

_SIOCGIFNAME = 0x8910
_SIOCGIFCONF = 0x8912
"""Both answer for the namespace of the socket they are asked on. Source: netdevice(7)."""
_IFNAMSIZ = 16
_IFREQ_BYTES = _IFNAMSIZ + 3 * struct.calcsize("P")
_IFCONF = "iP"
_MOST_ADDRESSES = 1024
_ANY_MULTICAST = "ff05::1"
"""Of site scope: each interface but loopback on which IPv6 is on has a route to it, even without a default one."""


def find_interface(sock: socket.SocketType, name: str) -> int:
    """Give the index of an interface in the namespace of `sock`, or 0 if there is none of this name."""
    try:
        return 0 if name.isdecimal() else interface_index(sock, name)
    except OSError:
        return 0


def name_interface(sock: socket.SocketType, index: int) -> str:
    """Give the name of an interface in the namespace of `sock`, or "" if there is none of this index."""
    try:
        answer = fcntl.ioctl(sock.fileno(), _SIOCGIFNAME, struct.pack("16xI20x", index))
    except (OSError, struct.error):
        return ""
    return answer[:_IFNAMSIZ].split(b"\0")[0].decode("utf-8", "surrogateescape")


def by_family(destinations: Iterable[SocketAddress]) -> dict[int, list[SocketAddress]]:
    """Group destinations by what socket `source_addresses` needs for them."""
    groups: dict[int, list[SocketAddress]] = {}
    for destination in destinations:
        family = socket.AF_INET if len(destination) == 2 else socket.AF_INET6
        groups.setdefault(int(family), []).append(destination)
    return groups


def has_addresses(sock: socket.SocketType) -> bool:
    """Tell whether the namespace of `sock`, a UDP socket, has addresses of its family beside loopback."""
    return has_ipv4(sock) if sock.family == socket.AF_INET else has_ipv6(sock)


def has_ipv4(sock: socket.SocketType) -> bool:
    """Tell whether the namespace of `sock` has an IPv4 address other than 127.0.0.1."""
    space = array("B", bytes(_IFREQ_BYTES * _MOST_ADDRESSES))
    start, size = space.buffer_info()
    request = bytearray(struct.pack(_IFCONF, size, start).ljust(struct.calcsize(_IFCONF), b"\0"))
    fcntl.ioctl(sock.fileno(), _SIOCGIFCONF, request)
    used: int = struct.unpack_from("i", request)[0]
    # struct ifreq: the name, then a sockaddr_in: family, port, address.
    addresses = [space[begin + 20 : begin + 24].tobytes() for begin in range(0, used, _IFREQ_BYTES)]
    return any(address != b"\x7f\0\0\1" for address in addresses)


def has_ipv6(sock: socket.SocketType) -> bool:
    """Tell whether the namespace of `sock`, a UDP socket for IPv6, has an IPv6 address other than ::1."""
    try:
        sock.connect((_ANY_MULTICAST, 9))
    except OSError as error:
        # Anything else means that there is such an interface: EADDRNOTAVAIL while its address is tentative.
        return error.errno != errno.ENETUNREACH
    return True


def source_addresses(sock: socket.SocketType, destinations: Iterable[SocketAddress]) -> list[str | None] | None:
    """Give the address from which `sock`, a UDP socket, would send to each destination; None where there is no route.

    The socket may be connected already, and is connected to one of them afterwards.
    None in place of the list: a limit of the grant forbids to connect to one of them, so that can't be known.
    """
    sources: list[str | None] = []
    for destination in destinations:
        _disconnect(sock)
        try:
            sock.connect(destination)
            sources.append(sock.getsockname()[0])
        except PermissionError as error:
            if error.errno == errno.EPERM:
                return None
            sources.append(None)
        except OSError:
            sources.append(None)
    return sources


def _disconnect(sock: socket.SocketType) -> None:
    """Make a UDP socket forget its peer and its own address: else the next route is looked up from that one.

    The socket module can't say AF_UNSPEC.
    """
    _libc().connect(sock.fileno(), bytes(16), 16)


@cache
def _libc() -> CDLL:
    import ctypes

    return ctypes.CDLL(None)
