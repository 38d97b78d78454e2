"""System calls of 32-bit programs, made by this 64-bit one: `int 0x80` of x86-64. All pointers are below 4 GB.

Source: arch/x86/entry/entry_64_compat.S.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import struct
from functools import cache

SOCKET, BIND, CONNECT, LISTEN, SETSOCKOPT, SENDTO, SENDMSG = 359, 361, 362, 363, 366, 369, 370
"""Numbers of the calls. Source: arch/x86/entry/syscalls/syscall_32.tbl."""

_GETPID = 20
_MAP_32BIT = 0x40
_FLAGS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_32BIT

# push rbx; mov eax, edi; mov ebx, esi; mov esi, r8d; mov edi, r9d; xchg ecx, edx; int 0x80; pop rbx; ret
_CODE = bytes.fromhex("53 89f8 89f3 4489c6 4489cf 87d1 cd80 5b c3")


@cache
def why_not() -> str | None:
    """Return the reason why this machine has no such calls, or None."""
    if platform.machine() != "x86_64":
        return "32-bit calls are tried on x86-64 alone"
    if os.fork() == 0:
        os._exit(0 if call(_GETPID) == os.getpid() else 1)
    if os.wait()[1] != 0:
        return "this kernel has no 32-bit calls (CONFIG_IA32_EMULATION)"
    return None


def call(number: int, *arguments: int | bytes) -> int:
    """Make a call with up to five arguments, and return its result. Bytes are passed by their address.

    Raises:
        OSError: the kernel refused it.
    """
    code = mmap.mmap(-1, mmap.PAGESIZE, flags=_FLAGS, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(_CODE)
    kept, values = [], []
    for argument in arguments:
        if isinstance(argument, bytes):
            kept.append(LowMemory(argument))
            argument = kept[-1].address
        values.append(argument)
    values += [0] * (5 - len(values))
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    result = int(ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_uint] * 6)(address)(number, *values))
    if result < 0:
        raise OSError(-result, errno.errorcode.get(-result, "?"))
    return result


class LowMemory:
    """Bytes at an address below 4 GB, while the object lives."""

    def __init__(self, data: bytes) -> None:
        self._memory = mmap.mmap(-1, max(len(data), 1), flags=_FLAGS, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        self._memory.write(data)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))


def message(name: bytes, data: bytes, control: bytes = b"") -> tuple[bytes, list[LowMemory]]:
    """Return a struct msghdr of a 32-bit program, and the memory that it points to."""
    kept = [LowMemory(name), LowMemory(data), LowMemory(control)]
    kept.append(LowMemory(struct.pack("=II", kept[1].address, len(data))))
    controls = (kept[2].address, len(control)) if control else (0, 0)
    return struct.pack("=7I", kept[0].address, len(name), kept[3].address, 1, *controls, 0), kept
