"""The system calls that Python has no function for: prctl, seccomp and its notifications, unshare, mount.

If a caller is gone, or another call has its number now, the kernel refuses the answer. Source: seccomp(2),
seccomp_unotify(2), pidfd_getfd(2).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct

from ..wire.record import Record
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

_NOTIF = struct.Struct("=QIIiIQ6Q")
"""struct seccomp_notif: id, pid, flags, and struct seccomp_data: nr, arch, instruction pointer, args."""
_ID = struct.Struct("=Q")
_RESPONSE = struct.Struct("=QqiI")
"""struct seccomp_notif_resp: id, val, error, flags."""
_ADDFD = struct.Struct("=QIIII")
"""struct seccomp_notif_addfd: id, flags, srcfd, newfd, newfd_flags."""

# _IOWR('!', 0, struct seccomp_notif), and so on.
_RECV = 0xC0502100
_SEND = 0xC0182101
_ID_VALID = 0x40082102
_ADD_FD = 0x40182103

_CONTINUE = 1
_ADDFD_SETFD = 1

_PIDFD_GETFD = 438
"""The same number on all machines."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
_libc.mount.argtypes = [*[ctypes.c_char_p] * 3, ctypes.c_ulong, ctypes.c_char_p]
_libc.syscall.argtypes = [*[ctypes.c_long] * 3, ctypes.c_void_p]
_libc.syscall.restype = ctypes.c_long


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def this_machine() -> Machine | None:
    """Return the instruction set of this process (`None`: there is no filter for it)."""
    if struct.calcsize("P") != _POINTER_BYTES:
        return None
    return MACHINES.get(os.uname().machine)


def set_no_new_privs() -> None:
    """Renounce set-user-id programs and file capabilities, for this thread and all its descendants."""
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def install_filter(machine: Machine, program: bytes) -> int:
    """Put this thread and all its descendants under a filter. The caller owns the returned listener.

    Once the supervisor has taken a call, only death interrupts it. After another signal, the program would repeat the
    call, and the first socket would be lost.

    Raises:
        OSError: EBUSY: it has a filter with a listener already. EINVAL: the kernel is older than Linux 5.19.
    """
    argument = _Program(len(program) // _SOCK_FILTER_BYTES, program)
    flags = _NEW_LISTENER | _WAIT_KILLABLE_RECV
    return _check(_libc.syscall(machine.seccomp, _SECCOMP_SET_MODE_FILTER, flags, ctypes.addressof(argument)))


class Notification(Record):
    """A call that waits for an answer.

    Attributes:
        id: the call's number.
        tid: the calling thread (0: not visible in this process's pid namespace).
        number: the number of the system call.
        args: the call's registers, unsigned.
    """

    id: int
    tid: int
    number: int
    args: tuple[int, ...]


def take_notification(listener: int) -> Notification | None:
    """Take the next waiting call (`None`: its caller is gone).

    Raises:
        OSError: as ioctl(2).
    """
    data = bytearray(_NOTIF.size)  # The kernel requires zeros.
    try:
        fcntl.ioctl(listener, _RECV, data, True)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINTR):
            return None
        raise
    notification_id, tid, _, number, _, _, *args = _NOTIF.unpack(data)
    return Notification(notification_id, tid, number, tuple(args))


def is_waiting(listener: int, notification: Notification) -> bool:
    """Return whether the caller still waits. A killed one does not."""
    try:
        fcntl.ioctl(listener, _ID_VALID, _ID.pack(notification.id))
    except OSError:
        return False
    return True


def lend_fd(listener: int, notification: Notification, fd: int, flags: int, number: int | None = None) -> int:
    """Put a copy of `fd` into the caller's table, while its call waits. The caller of this function still owns `fd`.

    Args:
        listener: the descriptor of the filter's notifications.
        notification: the call that waits.
        fd: the descriptor to copy.
        flags: the flags of the copy: O_CLOEXEC, or 0.
        number: the number that the copy takes over from another descriptor, which is closed. `None` takes a free one.

    Returns:
        The copy's number.

    Raises:
        OSError: ENOENT: the caller was killed. EMFILE: its table is full. Or a security module forbids it.
    """
    how = 0 if number is None else _ADDFD_SETFD
    data = bytearray(_ADDFD.pack(notification.id, how, fd, number or 0, flags))
    return int(fcntl.ioctl(listener, _ADD_FD, data, True))  # Only for a mutable argument is this the result.


def answer(listener: int, notification: Notification, value: int) -> None:
    """Let the call return this value."""
    _answer(listener, _RESPONSE.pack(notification.id, value, 0, 0))


def answer_errno(listener: int, notification: Notification, number: int) -> None:
    """Let the call fail with this errno."""
    _answer(listener, _RESPONSE.pack(notification.id, 0, -number, 0))


def answer_continue(listener: int, notification: Notification) -> None:
    """Let the call run as if there were no filter."""
    _answer(listener, _RESPONSE.pack(notification.id, 0, 0, _CONTINUE))


def _answer(listener: int, response: bytes) -> None:
    try:
        fcntl.ioctl(listener, _SEND, response)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ESRCH):  # The caller was killed.
            raise


def take_copy(pidfd: int, fd: int) -> int:
    """Return a copy of another process's descriptor. The caller owns it.

    Raises:
        OSError: EPERM: this process may not trace the other one. EBADF: it has no such descriptor.
    """
    return _check(_libc.syscall(_PIDFD_GETFD, pidfd, fd, 0))


def unshare(flags: int) -> None:
    """Move this process into new namespaces.

    Raises:
        OSError: as unshare(2).
    """
    _check(_libc.unshare(flags))


def mount(source: str, target: str, filesystem: str, flags: int, data: str = "") -> None:
    """Mount a file system, or change a mount.

    Raises:
        OSError: as mount(2). Its filename is the target.
    """
    args = (os.fsencode(text) for text in (source, target, filesystem))
    _check(_libc.mount(*args, flags, os.fsencode(data)), target)


def unmount(target: str) -> None:
    """Take away the uppermost mount at a path.

    Raises:
        OSError: as umount2(2). Its filename is the path.
    """
    _check(_libc.umount2(os.fsencode(target), 0), target)


def _check(result: int, filename: str | None = None) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), filename)
    return result
