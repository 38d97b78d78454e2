"""The system calls that Python has no function for: prctl, seccomp, unshare, mount."""

from __future__ import annotations

import ctypes
import os
import struct

from .filter import MACHINES, Machine

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
MS_BIND = 4096
MS_REC = 16384
MS_SLAVE = 1 << 19

_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_SET_MODE_FILTER = 1
_NEW_LISTENER = 1 << 3
_WAIT_KILLABLE_RECV = 1 << 5
_SOCK_FILTER_BYTES = 8
_POINTER_BYTES = 8

_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
_libc.mount.argtypes = [*[ctypes.c_char_p] * 3, ctypes.c_ulong, ctypes.c_char_p]
_libc.syscall.argtypes = [*[ctypes.c_long] * 3, ctypes.c_void_p]
_libc.syscall.restype = ctypes.c_long


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def this_machine() -> Machine | None:
    """Give the instruction set of this process; None if there is no filter for it."""
    if struct.calcsize("P") != _POINTER_BYTES:
        return None
    return MACHINES.get(os.uname().machine)


def set_no_new_privs() -> None:
    """Give up set-user-id programs and file capabilities, for this thread and all that come of it."""
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def install_filter(machine: Machine, program: bytes) -> int:
    """Put this thread, and all that come of it, under a filter; the caller owns the listener that is returned.

    A signal can't interrupt a call that its supervisor has taken: it would be made again, and its socket be lost.

    Raises:
        OSError: EBUSY: it has a filter with a listener already. EINVAL: the kernel is older than Linux 5.19.
    """
    argument = _Program(len(program) // _SOCK_FILTER_BYTES, program)
    flags = _NEW_LISTENER | _WAIT_KILLABLE_RECV
    return _check(_libc.syscall(machine.seccomp, _SECCOMP_SET_MODE_FILTER, flags, ctypes.addressof(argument)))


def unshare(flags: int) -> None:
    """Move this process into new namespaces.

    Raises:
        OSError: as unshare(2).
    """
    _check(_libc.unshare(flags))


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """Mount.

    Raises:
        OSError: as mount(2); its filename is the target.
    """
    args = (os.fsencode(text) for text in (source, target, kind))
    _check(_libc.mount(*args, flags, os.fsencode(data)), target)


def _check(result: int, filename: str | None = None) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), filename)
    return result
