"""Binds packet sockets to a protocol on every interface, which the socket module can't: it looks for a name."""

from __future__ import annotations

import ctypes
import os
import socket
import struct

_SOCKADDR_LL = struct.Struct("=HHiHBB8s")
"""struct sockaddr_ll of packet(7): family, protocol, interface index, and what does not matter to bind(2)."""
_EVERY_INTERFACE = 0

# PyDLL keeps the GIL, as in `credentials`: no other thread runs in between.
_libc = ctypes.PyDLL(None, use_errno=True)
_libc.bind.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]


def bind_everywhere(fd: int, protocol: int) -> None:
    """Bind to an ETH_P_ number, in host order, on all interfaces that there are or will be.

    Raises:
        OSError: as bind(2).
    """
    address = _SOCKADDR_LL.pack(int(socket.AF_PACKET), socket.htons(protocol), _EVERY_INTERFACE, 0, 0, 0, b"")
    if _libc.bind(fd, address, len(address)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
