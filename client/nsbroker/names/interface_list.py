"""The interfaces of a namespace, by a netlink socket that was made there. Source: rtnetlink(7), netlink(7)."""

from __future__ import annotations

import errno
import os
import socket
from struct import Struct

_HEADER = Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence number, port."""
_LINK = Struct("=BxHiII")
"""struct ifinfomsg: family, type, index, flags, change."""
_ATTRIBUTE = Struct("=HH")
_RTM_NEWLINK, _RTM_GETLINK, _NLMSG_ERROR, _NLMSG_DONE = 16, 18, 2, 3
_NLM_F_REQUEST, _NLM_F_DUMP = 1, 0x300
_IFLA_IFNAME = 3
_MOST_BYTES = 65536

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


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
        for kind, body in _messages(sock.recv(_MOST_BYTES)):
            if kind == _NLMSG_DONE:
                return found
            if kind == _NLMSG_ERROR:
                number = -int.from_bytes(body[:4], "little" if _LITTLE else "big", signed=True)
                raise OSError(number or errno.EPROTO, os.strerror(number or errno.EPROTO))
            if kind == _RTM_NEWLINK:
                found.append((_LINK.unpack_from(body)[2], _name(body[_LINK.size :])))


_LITTLE = socket.htons(1) != 1


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _HEADER.size:
        length, kind = _HEADER.unpack_from(data)[:2]
        yield kind, data[_HEADER.size : length]
        data = data[_align(max(length, _HEADER.size)) :]


def _name(attributes: bytes) -> str:
    while len(attributes) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(attributes)
        if kind == _IFLA_IFNAME:
            return os.fsdecode(attributes[_ATTRIBUTE.size : length].rstrip(b"\0"))
        attributes = attributes[_align(max(length, _ATTRIBUTE.size)) :]
    return ""


def _align(length: int) -> int:
    return (length + 3) & ~3
