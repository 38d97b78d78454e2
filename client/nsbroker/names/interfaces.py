"""Interfaces, addresses and routes of a namespace. A socket of the namespace finds them, without privileges or packets.

Source: netdevice(7), rtnetlink(7), netlink(7).
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from array import array
from functools import cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from ctypes import CDLL

    from .numeric import SocketAddress

    Networks = dict[str, int]

_SIOCGIFNAME = 0x8910
_SIOCGIFCONF = 0x8912
_SIOCGIFDSTADDR = 0x8917
_SIOCGIFNETMASK = 0x891B
_SIOCGIFINDEX = 0x8933
"""All of these answer for the namespace of the socket that they are asked on."""
_IFNAMSIZ = 16
_IFREQ_BYTES = _IFNAMSIZ + 3 * struct.calcsize("P")
_IFCONF = "iP"
_FEW_ADDRESSES, _MOST_ADDRESSES = 64, 1024
_ANY_MULTICAST = "ff05::1"
"""Each interface with IPv6, except loopback, has a route to this site-scope address, even without a default route."""

_HEADER = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence number, port."""
_LINK = struct.Struct("=BxHiII")
"""struct ifinfomsg: family, type, index, flags, change."""
_ATTRIBUTE = struct.Struct("=HH")
_RTM_NEWLINK, _RTM_GETLINK, _NLMSG_ERROR, _NLMSG_DONE = 16, 18, 2, 3
_NLM_F_REQUEST, _NLM_F_DUMP = 1, 0x300
_IFLA_IFNAME = 3
_MOST_BYTES = 65536


def find_interface(sock: socket.SocketType, name: str) -> int:
    """Return the index of an interface that a scope names, or 0 if there is none. A number is no name here."""
    return 0 if name.isdecimal() else index_of(sock, name.encode(errors="surrogateescape"))


def index_of(sock: socket.SocketType, name: bytes) -> int:
    """Return the index of an interface in the namespace of `sock`, or 0 if there is no interface of this name."""
    if len(name) >= _IFNAMSIZ or b"\0" in name:
        return 0
    try:
        answer = fcntl.ioctl(sock.fileno(), _SIOCGIFINDEX, name.ljust(_IFREQ_BYTES, b"\0"))
    except OSError:
        return 0
    index: int = struct.unpack_from("i", answer, _IFNAMSIZ)[0]
    return index


def name_interface(sock: socket.SocketType, index: int) -> str:
    """Return the name of an interface in the namespace of `sock`, or "" if there is no interface of this index."""
    try:
        answer = fcntl.ioctl(sock.fileno(), _SIOCGIFNAME, struct.pack("16xI20x", index))
    except (OSError, struct.error):
        return ""
    return answer[:_IFNAMSIZ].split(b"\0")[0].decode("utf-8", "surrogateescape")


def has_addresses(sock: socket.SocketType) -> bool:
    """Return whether the namespace of `sock`, a UDP socket, has addresses of its family beside 127.0.0.1 or ::1."""
    return _has_ipv4(sock) if sock.family == socket.AF_INET else _has_ipv6(sock)


def _has_ipv4(sock: socket.SocketType) -> bool:
    return any(address != b"\x7f\0\0\1" for _, address in _ipv4_addresses(sock))


def ipv4_networks(sock: socket.SocketType) -> Networks:
    """Return the length of the prefix of each IPv4 address in the namespace of `sock`, an IPv4 socket.

    As in glibc, the address of a point-to-point interface is that of its peer.
    """
    networks: Networks = {}
    for name, address in _ipv4_addresses(sock):
        request = name + struct.pack("=H2x4s", socket.AF_INET, address).ljust(_IFREQ_BYTES - _IFNAMSIZ, b"\0")
        try:
            peer, mask = (
                fcntl.ioctl(sock.fileno(), number, request)[_IFNAMSIZ + 4 : _IFNAMSIZ + 8]
                for number in (_SIOCGIFDSTADDR, _SIOCGIFNETMASK)
            )
        except OSError:
            continue  # It is gone.
        networks.setdefault(socket.inet_ntoa(peer), int.from_bytes(mask, "big").bit_count())
    return networks


def _ipv4_addresses(sock: socket.SocketType) -> list[tuple[bytes, bytes]]:
    """Return (name of the interface with trailing NULs, address) of each IPv4 address of the namespace."""
    used = size = 0
    while used == size < _MOST_ADDRESSES * _IFREQ_BYTES:  # There may be more than fit.
        size = size * 16 or _FEW_ADDRESSES * _IFREQ_BYTES
        space = array("B", bytes(size))
        request = bytearray(struct.pack(_IFCONF, size, space.buffer_info()[0]).ljust(struct.calcsize(_IFCONF), b"\0"))
        fcntl.ioctl(sock.fileno(), _SIOCGIFCONF, request)
        used = struct.unpack_from("i", request)[0]
    data = space.tobytes()
    found = [data[begin : begin + _IFREQ_BYTES] for begin in range(0, used, _IFREQ_BYTES)]
    # struct ifreq: the name, then a sockaddr_in: family, port, address.
    return [(each[:_IFNAMSIZ], each[_IFNAMSIZ + 4 : _IFNAMSIZ + 8]) for each in found]


def _has_ipv6(sock: socket.SocketType) -> bool:
    try:
        sock.connect((_ANY_MULTICAST, 9))
    except OSError as error:
        if error.errno != errno.EADDRNOTAVAIL:
            return error.errno != errno.ENETUNREACH
        # Either the address of the interface is tentative, or IPv6 is switched off, and then "::1" is missing, too.
        return _is_reachable(sock, "::1")
    return True


def _is_reachable(sock: socket.SocketType, host: str) -> bool:
    try:
        sock.connect((host, 9))
    except OSError as error:
        return error.errno == errno.EPERM  # The grant's limit forbids to ask.
    return True


def source_addresses(sock: socket.SocketType, destinations: Iterable[SocketAddress]) -> list[str | None] | None:
    """Return the address from which `sock`, a UDP socket, would send to each destination. It is `None` without a route.

    The socket may be connected already, and is connected to one of the destinations afterwards. Instead of the list,
    the result is `None` if the grant's limit forbids to connect to one of them: then the sources can't be known.
    """
    sources: list[str | None] = []
    for destination in destinations:
        _disconnect(sock)
        try:
            sock.connect(destination)
            sources.append(sock.getsockname()[0])
        except OSError as error:
            if error.errno == errno.EPERM:
                return None
            sources.append(None)
    return sources


def _disconnect(sock: socket.SocketType) -> None:
    """Make a UDP socket forget its peer and its own address, from which the kernel would look up the next route.

    The socket module can't say AF_UNSPEC.
    """
    _libc().connect(sock.fileno(), bytes(16), 16)


@cache
def _libc() -> CDLL:
    import ctypes

    return ctypes.CDLL(None)


def list_interfaces(sock: socket.SocketType) -> list[tuple[int, str]]:
    """Ask a NETLINK_ROUTE socket for (index, name) of every interface of its namespace.

    Raises:
        OSError: the kernel refuses.
    """
    sock.send(
        _HEADER.pack(_HEADER.size + _LINK.size, _RTM_GETLINK, _NLM_F_REQUEST | _NLM_F_DUMP, 1, 0) + bytes(_LINK.size)
    )
    found: list[tuple[int, str]] = []
    while True:
        for message_type, body in _messages(sock.recv(_MOST_BYTES)):
            if message_type == _NLMSG_DONE:
                return found
            if message_type == _NLMSG_ERROR:
                number = -struct.unpack_from("=i", body)[0] or errno.EPROTO
                raise OSError(number, os.strerror(number))
            if message_type == _RTM_NEWLINK:
                found.append((_LINK.unpack_from(body)[2], _name(body[_LINK.size :])))


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _HEADER.size:
        length, message_type = _HEADER.unpack_from(data)[:2]
        yield message_type, data[_HEADER.size : length]
        data = data[_align(max(length, _HEADER.size)) :]


def _name(attributes: bytes) -> str:
    while len(attributes) >= _ATTRIBUTE.size:
        length, attribute = _ATTRIBUTE.unpack_from(attributes)
        if attribute == _IFLA_IFNAME:
            return os.fsdecode(attributes[_ATTRIBUTE.size : length].rstrip(b"\0"))
        attributes = attributes[_align(max(length, _ATTRIBUTE.size)) :]
    return ""


def _align(length: int) -> int:
    return (length + 3) & ~3
