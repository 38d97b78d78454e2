"""A FUSE file system by hand, with one file, that answers its own user and leaves everybody else waiting for ever.

No read of the file is ever answered: whoever touches memory that is mapped from it waits as well.

Source: include/uapi/linux/fuse.h, fuse(4).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
import struct
from pathlib import Path
from typing import Self

from support.users import Child, start_as_user
from support.waiting import Counters

_LOOKUP, _FORGET, _GETATTR, _OPEN, _READ, _RELEASE, _FLUSH = 1, 2, 3, 14, 15, 18, 25
_INIT, _INTERRUPT, _BATCH_FORGET = 26, 36, 42
_IN_HEADER = struct.Struct("=IIQQIIIHH")
_OUT_HEADER = struct.Struct("=IiQ")
_ATTR = struct.Struct("=6Q10I")
_VALID_S = 3600
FILE_BYTES = 4096
_ROOT, _FILE = 1, 2
_MNT_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)


def why_not() -> str | None:
    """Return the reason why this machine can't have a FUSE file system, or None."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "a hostile file system needs /dev/fuse"
    return None


class FuseServer:
    """Mounted within `with`. `kill` ends the file system, and all waiting calls with it.

    `reads[0]` is the number of reads that wait, for example of memory that is mapped from the file.
    """

    def __init__(self, directory: Path, uid: int, gid: int, options: str = "") -> None:
        self.path = directory / "file"
        self._directory = directory
        self._uid, self._gid = uid, gid
        self._options = options
        self._child: Child | None = None
        self.reads = Counters(1)

    def __enter__(self) -> Self:
        device = os.open("/dev/fuse", os.O_RDWR)
        try:
            options = f"fd={device},rootmode=40000,user_id={self._uid},group_id={self._gid}{self._options}"
            self._mount(options)
            # The child has the only copy of the device from here on: with it, the file system dies.
            self._child = start_as_user(0, 0, _serve, device, self.reads)
        finally:
            os.close(device)
        return self

    def _mount(self, options: str) -> None:
        if _libc.mount(b"nsbroker-test", os.fsencode(self._directory), b"fuse", 0, options.encode()) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), options)

    def kill(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None

    def __exit__(self, *_: object) -> None:
        self.kill()
        _libc.umount2(os.fsencode(self._directory), _MNT_DETACH)


def _serve(device: int, reads: Counters) -> None:
    friend = 0  # the process that opened the file
    while True:
        request = os.read(device, 1 << 17)
        _, operation, unique, node, uid, _, pid, _, _ = _IN_HEADER.unpack_from(request)
        if operation == _OPEN:
            friend = pid
        if operation == _READ:
            reads[0] += 1
        if operation in (_FORGET, _BATCH_FORGET, _INTERRUPT):
            continue
        if operation == _INIT:
            answer = struct.pack("=IIIIHHIIHHI28x", 7, 31, 0, 0, 12, 9, 4096, 1, 1, 0, 0)
        elif operation == _LOOKUP:
            answer = struct.pack("=QQQQII", _FILE, 0, _VALID_S, _VALID_S, 0, 0) + _attributes(_FILE, uid)
        elif operation == _GETATTR and pid in (friend, 0):
            answer = struct.pack("=QII", _VALID_S, 0, 0) + _attributes(node, uid)
        elif operation == _OPEN:
            answer = struct.pack("=QIi", 0, 0, 0)
        elif operation == _RELEASE or (operation == _FLUSH and pid == friend):
            answer = b""
        else:
            continue  # for ever
        with contextlib.suppress(FileNotFoundError):  # it was interrupted
            os.write(device, _OUT_HEADER.pack(_OUT_HEADER.size + len(answer), 0, unique) + answer)


def _attributes(node: int, uid: int) -> bytes:
    mode = stat.S_IFDIR | 0o755 if node == _ROOT else stat.S_IFREG | 0o644
    return _ATTR.pack(node, FILE_BYTES, 0, 0, 0, 0, 0, 0, 0, mode, 1, uid, uid, 0, 4096, 0)
