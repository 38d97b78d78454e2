"""Takes the calls that the filter holds, and answers them: seccomp's user notification.

Nothing of the caller's memory is read, and an answer to a caller that is gone, or whose number another one has now,
is refused by the kernel: so there is no race to guard against. Source: seccomp_unotify(2).
"""

from __future__ import annotations

import errno
import fcntl
import struct

from ..wire.record import Record

_NOTIF = struct.Struct("=QIIiIQ6Q")
"""struct seccomp_notif: id, pid, flags, and struct seccomp_data: nr, arch, instruction pointer, args."""
_RESPONSE = struct.Struct("=QqiI")
"""struct seccomp_notif_resp: id, val, error, flags."""
_ADDFD = struct.Struct("=QIIII")
"""struct seccomp_notif_addfd: id, flags, srcfd, newfd, newfd_flags."""

# _IOWR('!', 0, struct seccomp_notif), and so on.
_RECV = 0xC0502100
_SEND = 0xC0182101
_ADD_FD = 0x40182103

_CONTINUE = 1
_ADDFD_SEND = 2


class Notification(Record):
    """A call that waits for an answer: `tid` is its thread, 0 if that is not visible here; `args` are as unsigned."""

    id: int
    tid: int
    args: tuple[int, ...]


def take_notification(listener: int) -> Notification | None:
    """Take the next call that waits; None if its caller was faster to go away.

    Raises:
        OSError: as ioctl(2).
    """
    data = bytearray(_NOTIF.size)  # The kernel insists on zeros.
    try:
        fcntl.ioctl(listener, _RECV, data, True)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINTR):
            return None
        raise
    number, tid, _, _, _, _, *args = _NOTIF.unpack(data)
    return Notification(number, tid, tuple(args))


def answer_fd(listener: int, notification: Notification, fd: int, flags: int) -> None:
    """Let the call return a copy of `fd`, which has `flags` (O_CLOEXEC, or 0).

    Raises:
        OSError: the caller's table is full (EMFILE), or a security module forbids it; it still waits for an answer.
    """
    _tell(listener, _ADD_FD, _ADDFD.pack(notification.id, _ADDFD_SEND, fd, 0, flags))


def answer_errno(listener: int, notification: Notification, number: int) -> None:
    """Let the call fail with this errno."""
    _tell(listener, _SEND, _RESPONSE.pack(notification.id, 0, -number, 0))


def answer_continue(listener: int, notification: Notification) -> None:
    """Let the call run as if there were no filter."""
    _tell(listener, _SEND, _RESPONSE.pack(notification.id, 0, 0, _CONTINUE))


def _tell(listener: int, request: int, data: bytes) -> None:
    try:
        fcntl.ioctl(listener, request, data)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ESRCH):  # The caller was killed, before or meanwhile.
            raise
