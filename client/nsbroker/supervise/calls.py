"""What a call of socket(2) asks the broker for. Pure.

Source: net/socket.c, net/ipv4/af_inet.c, net/netlink/af_netlink.c and net/packet/af_packet.c for the errnos.
"""

from __future__ import annotations

import errno
import socket

from ..wire.messages import Address, NamespaceRef, SocketSpec

_TYPE_MASK = 0xF
_CLOEXEC = int(socket.SOCK_CLOEXEC)
_NONBLOCK = int(socket.SOCK_NONBLOCK)
_MAX_TYPE = 10
_IPPROTO_MAX = 262
_INET = frozenset({int(socket.AF_INET), int(socket.AF_INET6)})
_NETLINK = int(socket.AF_NETLINK)
_PACKET = int(socket.AF_PACKET)
_NETLINK_PROTOCOLS = frozenset({0, 4, 6, 12, 16})
"""Those that are about networks: route, sock_diag, xfrm, netfilter, generic."""

EVERY_INTERFACE = ""


class Unsupported(Exception):  # a refusal is a noun
    """The kernel itself would refuse the call, with this errno."""

    def __init__(self, number: int) -> None:
        super().__init__(f"errno {number}")
        self.errno = number


def read_spec(namespace: NamespaceRef, args: tuple[int, ...]) -> SocketSpec:
    """Give the socket that a call with these arguments asks for.

    Raises:
        Unsupported: there is no such socket in any namespace.
    """
    family, flagged, proto = (_as_int(arg) for arg in args[:3])
    kind, flags = flagged & _TYPE_MASK, flagged & ~_TYPE_MASK
    if flags & ~(_CLOEXEC | _NONBLOCK) or kind > _MAX_TYPE:
        raise Unsupported(errno.EINVAL)
    if family in _INET and not 0 <= proto <= _IPPROTO_MAX:
        raise Unsupported(errno.EINVAL)
    if family == _NETLINK and proto not in _NETLINK_PROTOCOLS:
        raise Unsupported(errno.EPROTONOSUPPORT)
    bind: Address | None = None
    if family == _PACKET:
        # The broker makes packet sockets deaf; to bind gives them their protocol.
        proto, bind = 0, _packet_address(proto)
    return SocketSpec(namespace, family, kind | flags & _NONBLOCK, proto, bind)


def descriptor_flags(args: tuple[int, ...]) -> int:
    """Give the flags of the new descriptor: O_CLOEXEC, which is SOCK_CLOEXEC, if it was asked for."""
    return args[1] & _CLOEXEC


def _packet_address(proto: int) -> Address | None:
    protocol = socket.ntohs(proto & 0xFFFF)
    return (EVERY_INTERFACE, protocol) if protocol else None


def _as_int(arg: int) -> int:
    """Give the int that the kernel takes of a register's 64 bits."""
    low = arg & 0xFFFFFFFF
    return low - 2**32 if low >= 2**31 else low
