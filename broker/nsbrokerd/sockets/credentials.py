"""The rights of this thread for the length of a few system calls: fsuid, fsgid and effective capabilities.

A socket belongs to the fsuid that made it, and keeps the capabilities of its maker. So the broker makes it with the
client's rights. Each thread has its own ids and capabilities. Source: setfsuid(2), capset(2), credentials(7).
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from typing import TypeVar

from .capabilities import Sets, own_header, read_own

T = TypeVar("T")

# PyDLL keeps the GIL: these calls take less than a microsecond, and no other thread may run in between.
_libc = ctypes.PyDLL(None, use_errno=True)
# These two set no errno, which takes ctypes time to keep. `argtypes` would take time as well: ctypes passes the low 32
# bits of an int, which are all of an id.
_ids = ctypes.PyDLL(None)
_setfsuid, _setfsgid = _ids.setfsuid, _ids.setfsgid
_setfsuid.restype = _setfsgid.restype = ctypes.c_uint

# The C library's own setresuid changes all threads at once. Source: the syscall tables of Linux.
_SYS_SETRESUID = {
    "x86_64": 117,
    "aarch64": 147,
    "riscv64": 147,
    "loongarch64": 147,
    "ppc64le": 169,
    "s390x": 208,
    "i686": 208,
    "armv7l": 208,  # setresuid32
}
_UNCHANGED = -1

EXIT_STATUS = 70
"""EX_SOFTWARE of sysexits.h: our own invariant is broken."""


class Credentials:
    """The process's own rights, read once, and the ways to drop them and to return to them."""

    def __init__(self) -> None:
        """Read the rights.

        Raises:
            OSError: capget(2) failed.
        """
        self.uid = os.geteuid()
        self.gid = os.getegid()
        self._header = own_header()
        self._full = read_own()
        self._capset = _libc.capset
        self._capset.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        self._none = Sets.from_buffer_copy(self._full)
        self._none.effective_low = self._none.effective_high = 0
        self._header_at, self._full_at, self._none_at = map(ctypes.addressof, (self._header, self._full, self._none))
        self._unused_uid = _last_uid()
        self._setresuid = _SYS_SETRESUID.get(os.uname().machine)

    def prove(self) -> None:
        """End the process unless this thread has these rights, as each thread must when it starts."""
        if (os.geteuid(), os.getegid()) != (self.uid, self.gid) or bytes(read_own()) != bytes(self._full):
            os._exit(EXIT_STATUS)

    def as_owner(self, uid: int, gid: int, function: Callable[[], T]) -> T:
        """Call `function` with this fsuid and fsgid. It must not await.

        If the ids did not take effect or can't be set back, the process ends: a socket would have the wrong owner.
        """
        # Each call returns the id that was in force before it. This is the only sign of a failure: there is no errno.
        came_from: tuple[int, int] | None = None
        try:
            came_from = _setfsgid(gid), _setfsuid(uid)
            return function()
        finally:
            try:
                was = _setfsuid(self.uid), _setfsgid(self.gid)
                if came_from != (self.gid, self.uid) or was != (uid, gid):
                    os._exit(EXIT_STATUS)
            except BaseException:  # an interrupt in between: one of the ids is still the client's, or unproven
                os._exit(EXIT_STATUS)

    def without_capabilities(self, function: Callable[[], T]) -> T:
        """Call `function` without any effective capability. It must not await.

        If the capabilities can't be dropped or set back, the process ends.
        """
        try:
            if self._capset(self._header_at, self._none_at) != 0:
                os._exit(EXIT_STATUS)
            return function()
        finally:
            if self._capset(self._header_at, self._full_at) != 0:
                os._exit(EXIT_STATUS)

    def without_power(self, uid: int, function: Callable[[], T]) -> T:
        """Call `function` with this fsuid, and without power over any user namespace. It must not await.

        Dropping the capabilities is not enough: an euid has all of them over the user namespaces that it owns, and root
        owns those of the containers that root started. So the euid becomes one that no user has. It can't be the
        client's: a client could tamper with a thread of its own euid.

        If a step of this can't be done or undone, the process ends.

        Raises:
            OSError: the number of setresuid(2) is unknown on this machine, or `function` failed.
        """
        number = self._setresuid
        if number is None:
            raise OSError(
                errno.ENOSYS, f"the number of setresuid(2) on {os.uname().machine} is unknown: add it to _SYS_SETRESUID"
            )
        try:
            self._become(number, self._unused_uid, uid)
            return self.without_capabilities(function)
        finally:
            try:
                self._become(number, self.uid, uid)
            except BaseException:  # an interrupt before it began: the euid is still the unused one
                os._exit(EXIT_STATUS)

    def _become(self, setresuid: int, euid: int, fsuid: int) -> None:
        """Change the euid. Then restore the capabilities and the fsuid, which the kernel changes with the euid."""
        done = False
        try:
            done = (
                _libc.syscall(setresuid, _UNCHANGED, ctypes.c_uint(euid), _UNCHANGED) == 0
                and self._capset(self._header_at, self._full_at) == 0
                and _setfsuid(fsuid) == euid
            )
        finally:
            if not done:
                os._exit(EXIT_STATUS)


def _last_uid() -> int:
    """Return the highest uid of this process's user namespace. Systems give it to no user."""
    with open("/proc/self/uid_map") as file:
        first, _, length = file.read().splitlines()[-1].split()
    return int(first) + int(length) - 1
