"""Writes the entries of sockets: the one thing that is done in the kernel's maps for each limited socket."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Sequence
from functools import lru_cache

from . import layout
from .bpf import MAP_UPDATE, NO_EXIST, SYSTEM_CALL

_BOTH = struct.Struct(f"{layout.ENTRY.format}i")
_ATTRIBUTES = struct.Struct("=IIQQQ")

Named = tuple[socket.SocketType, str, int, int]
"""A socket, the name of its grant, its namespace's cookie and its own."""

_grant_id = lru_cache(maxsize=4096)(layout.grant_id)


class Entries:
    """The map of sealed sockets, with buffers that are used again each time. For one thread."""

    def __init__(self, map_fd: int) -> None:
        # Entry and key side by side, so that one call fills both.
        self._both = ctypes.create_string_buffer(_BOTH.size)
        value = ctypes.addressof(self._both)
        places = value + layout.ENTRY.size, value
        self._attributes = ctypes.create_string_buffer(_ATTRIBUTES.pack(map_fd, 0, *places, NO_EXIST), _ATTRIBUTES.size)
        self._place = ctypes.addressof(self._attributes)

    def put(self, socks: Sequence[Named], since_ns: int, uid: int) -> None:
        """Name the grants of sockets.

        Raises:
            OSError: the kernel can't keep it.
        """
        pack_into, both, place = _BOTH.pack_into, self._both, self._place
        for sock, grant, netns, cookie in socks:
            pack_into(both, 0, _grant_id(grant), netns, cookie, since_ns, uid, 0, sock.fileno())
            if SYSTEM_CALL(MAP_UPDATE, place, _ATTRIBUTES.size) != 0:
                number = ctypes.get_errno()
                raise OSError(number, f"a socket can't be limited: {os.strerror(number)}")
