"""Tells which file a descriptor is, without asking the file system: a FUSE file system might never answer."""

from __future__ import annotations

import ctypes
import os
import struct

# Source: statx(2), include/uapi/linux/stat.h.
_AT_EMPTY_PATH = 0x1000
_AT_STATX_DONT_SYNC = 0x4000
_STATX_BYTES = 256
_STATX_INO_AT = 32
_STATX_DEV_AT = 136

_libc = ctypes.PyDLL(None, use_errno=True)
_statx = _libc.statx
_statx.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p]

Identity = tuple[int, int]
"""Device and inode of a namespace: unique while it exists."""


def identify(fd: int) -> Identity:
    """Return device and inode of an open file from the kernel's memory, without asking the file system."""
    buffer = ctypes.create_string_buffer(_STATX_BYTES)
    if _statx(fd, b"", _AT_EMPTY_PATH | _AT_STATX_DONT_SYNC, 0, buffer) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    major, minor = struct.unpack_from("=II", buffer.raw, _STATX_DEV_AT)
    return os.makedev(major, minor), struct.unpack_from("=Q", buffer.raw, _STATX_INO_AT)[0]
