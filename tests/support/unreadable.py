"""A system call of a client that never ends, because the kernel can't read the client's memory.

The memory is mapped from a file whose file system never answers (see `fuse_server`). No signal ends such a call.
"""

from __future__ import annotations

import ctypes
import os
import socket

from support.fuse_server import FILE_BYTES

_PROT_READ_WRITE, _MAP_PRIVATE = 3, 2

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
for _call in (_libc.send, _libc.recv):
    _call.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def map_unreadable(path: str) -> int:
    """Return the address of memory that is mapped from the file. Whoever reads or writes it waits."""
    fd = os.open(path, os.O_RDONLY)
    address = _libc.mmap(None, FILE_BYTES, _PROT_READ_WRITE, _MAP_PRIVATE, fd, 0)
    assert address != ctypes.c_void_p(-1).value, os.strerror(ctypes.get_errno())
    return int(address)


def send_unreadable(sock: socket.socket, path: str) -> None:
    """Send memory that never becomes readable, and keep the socket's lock meanwhile."""
    _libc.send(sock.fileno(), map_unreadable(path), FILE_BYTES, 0)


def receive_unwritable(sock: socket.socket, path: str) -> None:
    """Receive into memory that never becomes writable, and keep the lock of the socket's queue meanwhile."""
    _libc.recv(sock.fileno(), map_unreadable(path), FILE_BYTES, 0)
