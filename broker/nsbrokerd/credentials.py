"""Who this thread is, for the length of a few system calls: fsuid, fsgid and effective capabilities.

A socket belongs to the fsuid that made it, and lends the capabilities that its maker had; so the broker makes it as
the peer. All of these are per thread. Source: setfsuid(2), capset(2), credentials(7).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# PyDLL keeps the GIL: these calls take less than a microsecond, and no other thread may run in between.
_libc = ctypes.PyDLL(None, use_errno=True)
_setfsuid = _libc.setfsuid
_setfsuid.argtypes = [ctypes.c_uint]
_setfsgid = _libc.setfsgid
_setfsgid.argtypes = [ctypes.c_uint]

_CAPABILITY_VERSION_3 = 0x20080522
EXIT_STATUS = 70
"""EX_SOFTWARE of sysexits.h: our own invariant is broken."""


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = tuple(
        (f"{name}{half}", ctypes.c_uint32)
        for half in ("_low", "_high")
        for name in ("effective", "permitted", "inheritable")
    )


class Credentials:
    """What this process may do by itself, read once, to go back to."""

    def __init__(self) -> None:
        """Read them.

        Raises:
            OSError: capget(2) failed.
        """
        self.uid = os.geteuid()
        self.gid = os.getegid()
        self._header = _Header(_CAPABILITY_VERSION_3, 0)
        self._full = _Sets()
        self._capset = _libc.capset
        self._capset.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        if _libc.capget(ctypes.byref(self._header), ctypes.byref(self._full)) != 0:
            error = ctypes.get_errno()
            raise OSError(error, f"capget: {os.strerror(error)}")
        self._none = _Sets.from_buffer_copy(self._full)
        self._none.effective_low = self._none.effective_high = 0
        self._header_at, self._full_at, self._none_at = map(ctypes.addressof, (self._header, self._full, self._none))

    def as_owner(self, uid: int, gid: int, function: Callable[[], T]) -> T:
        """Call `function` with this fsuid and fsgid. No await may be in it.

        Ends the process when the ids did not take effect or can't be set back: a socket would have a wrong owner.
        """
        # Each call returns the id that was in force before it, and that is how a failure shows: neither has an errno.
        came_from: tuple[int, int] | None = None
        try:
            came_from = _setfsgid(gid), _setfsuid(uid)
            return function()
        finally:
            was = _setfsuid(self.uid), _setfsgid(self.gid)
            if came_from != (self.gid, self.uid) or was != (_as_int(uid), _as_int(gid)):
                os._exit(EXIT_STATUS)

    def without_capabilities(self, function: Callable[[], T]) -> T:
        """Call `function` without any effective capability. No await may be in it.

        Ends the process when they can't be dropped or set back.
        """
        try:
            if self._capset(self._header_at, self._none_at) != 0:
                os._exit(EXIT_STATUS)
            return function()
        finally:
            if self._capset(self._header_at, self._full_at) != 0:
                os._exit(EXIT_STATUS)


def _as_int(number: int) -> int:
    return ctypes.c_int(number).value
