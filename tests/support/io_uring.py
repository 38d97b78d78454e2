"""A little of io_uring: one operation at a time, by the system calls alone. Source: io_uring(7)."""

from __future__ import annotations

import ctypes
import mmap
import os
import struct

_SETUP, _ENTER = 425, 426
_GET_EVENTS = 1
_SQES_OFFSET, _CQ_OFFSET = 0x10000000, 0x8000000
CONNECT, SEND_MESSAGE, SEND, SOCKET, SEND_ZERO_COPY, SEND_MESSAGE_ZERO_COPY, BIND = 16, 9, 26, 45, 47, 48, 56

_libc = ctypes.CDLL(None, use_errno=True)


class Ring:
    """A ring with room for one operation."""

    def __init__(self) -> None:
        parameters = ctypes.create_string_buffer(120)
        self._fd = _libc.syscall(_SETUP, 1, parameters)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "io_uring_setup")
        # struct io_uring_params: offsets of the submission queue from byte 40, of the completion queue from byte 80.
        self._tail_at, self._array_at = (
            struct.unpack_from("=I", parameters, 44)[0],
            struct.unpack_from("=I", parameters, 64)[0],
        )
        self._head_at, self._results_at = (
            struct.unpack_from("=I", parameters, 80)[0],
            struct.unpack_from("=I", parameters, 100)[0],
        )
        self._submissions = mmap.mmap(self._fd, 4096, offset=0)
        self._entries = mmap.mmap(self._fd, 4096, offset=_SQES_OFFSET)
        self._completions = mmap.mmap(self._fd, 4096, offset=_CQ_OFFSET)

    def run(self, operation: int, fd: int, address: int, length: int, offset: int = 0, name_length: int = 0) -> int:
        """Do one operation, and return its result. Errors are negative. `name_length` is for sends to an address."""
        entry = struct.pack("=BBHiQQIIQHHH", operation, 0, 0, fd, offset, address, length, 0, 0, 0, 0, name_length)
        self._entries[:64] = entry.ljust(64, b"\0")
        tail = struct.unpack_from("=I", self._submissions, self._tail_at)[0]
        struct.pack_into("=I", self._submissions, self._array_at, 0)
        struct.pack_into("=I", self._submissions, self._tail_at, tail + 1)
        if _libc.syscall(_ENTER, self._fd, 1, 1, _GET_EVENTS, None, 0) < 0:
            raise OSError(ctypes.get_errno(), "io_uring_enter")
        head = struct.unpack_from("=I", self._completions, self._head_at)[0]
        result: int = struct.unpack_from("=i", self._completions, self._results_at + 16 * (head & 1) + 8)[0]
        struct.pack_into("=I", self._completions, self._head_at, head + 1)
        return result

    def close(self) -> None:
        os.close(self._fd)
