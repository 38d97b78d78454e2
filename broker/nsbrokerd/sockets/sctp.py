"""Binds an SCTP socket to further addresses. Source: RFC 6458, section 9.1; include/uapi/linux/sctp.h."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable

from nsbroker.wire import Address

_IPPROTO_SCTP = 132
_SCTP_SOCKOPT_BINDX_ADD = 100
_FAMILY = struct.Struct("=H")
_PORT = struct.Struct("!H")
_FLOWINFO = struct.Struct("!I")
_SCOPE_ID = struct.Struct("=I")
_SIN_ZERO = bytes(8)


def bind_also(sock: socket.SocketType, family: int, addresses: Iterable[Address]) -> None:
    """Add the addresses to a socket that is bound: all of them or, with an error, none.

    Raises:
        OSError: as bind(2).
    """
    packed = b"".join(_pack(family, *address) for address in addresses)
    sock.setsockopt(_IPPROTO_SCTP, _SCTP_SOCKOPT_BINDX_ADD, packed)


def _pack(family: int, host: str, port: int, flowinfo: int = 0, scope_id: int = 0) -> bytes:
    """Give struct sockaddr_in of ip(7), or struct sockaddr_in6 of ipv6(7)."""
    head = _FAMILY.pack(family) + _PORT.pack(port)
    address = socket.inet_pton(family, host)
    if family == socket.AF_INET:
        return head + address + _SIN_ZERO
    return head + _FLOWINFO.pack(flowinfo) + address + _SCOPE_ID.pack(scope_id)
