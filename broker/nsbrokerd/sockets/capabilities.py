"""Drops all capabilities of this process that its work does not need. Source: capabilities(7), prctl(2)."""

from __future__ import annotations

import ctypes
import errno
import os

# Source: include/uapi/linux/capability.h.
KEPT = {
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_NET_BIND_SERVICE": 10,
    "CAP_NET_ADMIN": 12,
    "CAP_NET_RAW": 13,
    "CAP_SYS_ADMIN": 21,
}
"""deploy/nsbrokerd.service gives the reason for each."""

DAC_OVERRIDE = 1
"""Kept as well on hosts where control groups can't be made without it."""

_HIGHEST = 63
_VERSION_3 = 0x20080522

# Source: include/uapi/linux/prctl.h.
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4

# PyDLL keeps the GIL, as in `credentials`.
_libc = ctypes.PyDLL(None, use_errno=True)
_libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4


class Header(ctypes.Structure):
    """Selects a thread. Pid 0 is the calling thread."""

    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class Sets(ctypes.Structure):
    """The three sets of capset(2), each in two halves of 32 bits."""

    _fields_ = tuple(
        (f"{name}{half}", ctypes.c_uint32)
        for half in ("_low", "_high")
        for name in ("effective", "permitted", "inheritable")
    )


def own_header() -> Header:
    """Return the header that selects the calling thread."""
    return Header(_VERSION_3, 0)


def read_own() -> Sets:
    """Read the sets of the calling thread.

    Raises:
        OSError: capget(2) failed.
    """
    sets = Sets()
    if _libc.capget(ctypes.byref(own_header()), ctypes.byref(sets)) != 0:
        raise _last_error("capget")
    return sets


def drop_others(*also: int) -> None:
    """Drop all capabilities except KEPT and `also` forever, in this thread and in threads that it starts.

    Raises:
        OSError: the kernel refused it.
    """
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise _last_error("PR_SET_NO_NEW_PRIVS")
    _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    kept_mask = sum(1 << number for number in {*KEPT.values(), *also})
    for number in range(_HIGHEST + 1):
        if not kept_mask >> number & 1 and _libc.prctl(_PR_CAPBSET_READ, number, 0, 0, 0) == 1:
            _drop_bound(number)
    sets = read_own()
    sets.effective_low &= kept_mask
    sets.permitted_low &= kept_mask
    sets.effective_high = sets.permitted_high = sets.inheritable_low = sets.inheritable_high = 0
    if _libc.capset(ctypes.byref(own_header()), ctypes.byref(sets)) != 0:
        raise _last_error("capset")


def _drop_bound(number: int) -> None:
    if _libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) == 0:
        return
    # A container's root may lack CAP_SETPCAP. The bounding set only matters for exec, which gains no capability here:
    # PR_SET_NO_NEW_PRIVS is set.
    if ctypes.get_errno() != errno.EPERM:
        raise _last_error("PR_CAPBSET_DROP")


def _last_error(call: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{call}: {os.strerror(number)}")
