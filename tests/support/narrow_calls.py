"""System calls of 32 bits from this process of 64 bits, by `int $0x80`: a few bytes of machine code make them.

Source: arch/x86/entry/syscalls/syscall_32.tbl of the kernel.
"""

from __future__ import annotations

import ctypes
import os

import pytest

_SETSOCKOPT, _GETPID = 366, 20
_READ_WRITE, _EXECUTE, _PRIVATE_ANONYMOUS, _MAP_32BIT = 3, 4, 0x22, 0x40
_PAGE = 4096

# push rbx; mov eax,edi; mov ebx,esi; mov ecx,edx; mov edx,[r8]; mov esi,[r8+4]; mov edi,[r8+8]; int 0x80; pop rbx; ret
# (r8 and later are not kept by the call, so all are loaded before.)
_CODE = bytes.fromhex("53 89f8 89f3 89d1 418b10 418b7004 418b7808 cd80 5b c3")

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]


class NarrowCalls:
    """Makes such calls. A test is skipped where the kernel has none."""

    def __init__(self) -> None:
        """Map a page for code, and one below 4 GB for data."""
        if os.uname().machine != "x86_64":
            pytest.skip("int 0x80 is an instruction of x86")
        flags = _PRIVATE_ANONYMOUS | _MAP_32BIT
        self._page: int = _libc.mmap(None, 2 * _PAGE, _READ_WRITE | _EXECUTE, flags, -1, 0)
        assert 0 < self._page < 2**32
        ctypes.memmove(self._page, _CODE, len(_CODE))
        signature = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_uint] * 3, ctypes.c_void_p, ctypes.c_void_p)
        self._function = signature(self._page)
        if os.fork() == 0:
            os._exit(self._call(_GETPID) != os.getpid())
        if os.wait()[1] != 0:
            pytest.skip("this kernel has no calls of 32 bits")

    def setsockopt(self, fd: int, level: int, name: int, value: bytes) -> int:
        """Set an option. Return 0, or the negative errno."""
        data = self._page + _PAGE
        ctypes.memmove(data, value, len(value))
        return self._call(_SETSOCKOPT, fd, level, name, data, len(value))

    def _call(self, number: int, *arguments: int) -> int:
        first, second, *rest = (*arguments, *[0] * (5 - len(arguments)))
        words = (ctypes.c_uint * 3)(*rest)
        return int(self._function(number, first, second, None, ctypes.addressof(words)))
