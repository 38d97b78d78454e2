"""Lists the sockets of a namespace that the kernel shows by sock_diag: of IP, Unix, packet and netlink sockets.

The kernel does not list a TCP, SCTP or netlink socket that is neither bound nor connected (before Linux 6.8, nor a TCP
socket that is only bound), and no sockets of the kind icmp. Source: sock_diag(7), linux/inet_diag.h, unix_diag.h,
packet_diag.h, netlink_diag.h, mptcp.h.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Collection, Iterator
from typing import NamedTuple

from .sock_diag import exchange

_DUMP = 0x300
_BY_FAMILY = 20
_ALL_STATES = 0xFFFFFFFF

_INET_REQUEST = struct.Struct("=BBBxI48s")
_PROTOCOL_ATTRIBUTE = struct.Struct("=HHI")
_INET_DIAG_REQ_PROTOCOL = 3
_UNIX_REQUEST = struct.Struct("=BBHIII8s")
_OTHER_REQUEST = struct.Struct("=BBHII8s")
_ALL_PROTOCOLS = 255
"""NDIAG_PROTO_ALL."""

_INET_MESSAGE = struct.Struct("=BBxx2s2s16s16sI8sIIIII")
_UNIX_MESSAGE = struct.Struct("=BBBxI8s")
_NETLINK_MESSAGE = struct.Struct("=BBBBIIII8s")

_PROTOCOLS = {
    "tcp": socket.IPPROTO_TCP,
    "udp": socket.IPPROTO_UDP,
    "udplite": socket.IPPROTO_UDPLITE,
    "sctp": socket.IPPROTO_SCTP,
    "mptcp": 262,
    "raw": socket.IPPROTO_RAW,
}

Endpoint = tuple[str, int]


class Listed(NamedTuple):
    """A socket in a list of the kernel.

    Attributes:
        inode: its number, as links of /proc/PID/fd have it. It is 0 if no process has the socket any more.
        local: its address and port, if it is of IP.
        remote: the same of its peer.
    """

    inode: int
    local: Endpoint | None = None
    remote: Endpoint | None = None


def list_sockets(diag: socket.socket, kinds: Collection[str]) -> tuple[dict[int, Listed], set[str]]:
    """List the sockets of these kinds, in the policy's words.

    Args:
        diag: a socket of `sock_diag.open_diag`.
        kinds: their kinds. Others are not asked for, since the question can make the kernel load a module.

    Returns:
        The sockets by their cookies, and the kinds that this kernel does not list.
    """
    found: dict[int, Listed] = {}
    unlisted: set[str] = set()
    for name in {kind.partition(":")[0] for kind in kinds}:
        try:
            found |= _list(diag, name)
        except OSError:
            unlisted |= {kind for kind in kinds if kind.partition(":")[0] == name}
    return found, unlisted


def _list(diag: socket.socket, name: str) -> dict[int, Listed]:
    """List the sockets of a kind.

    Raises:
        OSError: this kernel does not list them.
    """
    if name in _PROTOCOLS:
        families = (socket.AF_INET, socket.AF_INET6)
        return {cookie: one for family in families for cookie, one in _list_inet(diag, family, _PROTOCOLS[name])}
    if name == "unix":
        request = _UNIX_REQUEST.pack(socket.AF_UNIX, 0, 0, _ALL_STATES, 0, 0, bytes(8))
        return dict(_small(body) for body in exchange(diag, _BY_FAMILY, _DUMP, request))
    if name == "packet":
        request = _OTHER_REQUEST.pack(socket.AF_PACKET, 0, 0, 0, 0, bytes(8))
        return dict(_small(body) for body in exchange(diag, _BY_FAMILY, _DUMP, request))
    if name == "netlink":
        request = _OTHER_REQUEST.pack(socket.AF_NETLINK, _ALL_PROTOCOLS, 0, 0, 0, bytes(8))
        return dict(map(_netlink, exchange(diag, _BY_FAMILY, _DUMP, request)))
    raise OSError("there is no such list")


def _list_inet(diag: socket.socket, family: int, protocol: int) -> Iterator[tuple[int, Listed]]:
    request = _INET_REQUEST.pack(family, protocol & 0xFF, 0, _ALL_STATES, bytes(48))
    if protocol > 0xFF:
        request += _PROTOCOL_ATTRIBUTE.pack(_PROTOCOL_ATTRIBUTE.size, _INET_DIAG_REQ_PROTOCOL, protocol)
    for body in exchange(diag, _BY_FAMILY, _DUMP, request):
        _, _, sport, dport, source, target, _, cookie, *_, inode = _INET_MESSAGE.unpack_from(body)
        yield _cookie(cookie), Listed(inode, _end(family, source, sport), _end(family, target, dport))


def _end(family: int, address: bytes, port: bytes) -> Endpoint:
    host = address[:4] if family == socket.AF_INET else address
    return socket.inet_ntop(family, host), int.from_bytes(port, "big")


def _small(body: bytes) -> tuple[int, Listed]:
    """Read unix_diag_msg or packet_diag_msg, which have the same layout here."""
    *_, inode, cookie = _UNIX_MESSAGE.unpack_from(body)
    return _cookie(cookie), Listed(inode)


def _netlink(body: bytes) -> tuple[int, Listed]:
    *_, inode, cookie = _NETLINK_MESSAGE.unpack_from(body)
    return _cookie(cookie), Listed(inode)


def _cookie(halves: bytes) -> int:
    low, high = struct.unpack("=II", halves)
    return int(low | high << 32)
