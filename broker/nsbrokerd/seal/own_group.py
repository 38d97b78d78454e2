"""Finds this process's control group of version 2, and a way to write there.

A container has its group in one of three ways. Its own mount shows it as the root, but read-only. A mount of the host's
hierarchy can be outside of the container's namespace of control groups, so that no path of that mount is known to be
the group. Or there is no mount. In all three, this process can have a mount for itself alone, which no path leads to:
it makes groups only below its own one, which the host has put it into.

Source: Documentation/admin-guide/cgroup-v2.rst, "Delegation" and "Namespace". cgroup_namespaces(7).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

_INITIAL_NAMESPACE = 0xEFFFFFFB
"""Inode of the host's namespace of control groups. Source: PROC_CGROUP_INIT_INO in include/linux/proc_ns.h."""

# These numbers are the same on all machines since Linux 5.1. Source: include/uapi/asm-generic/unistd.h and mount.h.
_OPEN_TREE, _FSOPEN, _FSCONFIG, _FSMOUNT, _MOUNT_SETATTR = 428, 430, 431, 432, 442
_AT_FDCWD, _AT_EMPTY_PATH = -100, 0x1000
_OPEN_TREE_CLONE, _FSOPEN_CLOEXEC, _FSMOUNT_CLOEXEC, _FSCONFIG_CMD_CREATE = 1, 1, 1, 6
_RDONLY, _NOSUID_NODEV_NOEXEC = 1, 2 | 4 | 8

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(slots=True)
class OwnGroup:
    """The directory of this process's control group. Root can make groups there.

    Attributes:
        path: valid until `close`.
        shown: its name for messages.
        mount_fd: the mount that only this process has, or None.
    """

    path: Path
    shown: str
    mount_fd: int | None = None

    def close(self) -> None:
        """Drop the mount. A second call does nothing."""
        fd, self.mount_fd = self.mount_fd, None
        if fd is not None:
            os.close(fd)


def cgroup_mounts(mountinfo: bytes) -> list[tuple[str, str]]:
    """Return root and place of each mount of cgroup2. Pure.

    Users can mount their own file systems at paths with any bytes. The kernel escapes only space, tab, newline and
    backslash, so nothing else may end a line or a field here. Source: proc_pid_mountinfo(5).
    """
    mounted = [line.split(b" ") for line in mountinfo.split(b"\n") if line]
    found = [fields for fields in mounted if fields[fields.index(b"-", 6) + 1] == b"cgroup2"]
    return [(os.fsdecode(fields[3]), os.fsdecode(fields[4])) for fields in found]


def own_cgroup() -> Path:
    """Return the directory of this process's control group of version 2, also beside groups of version 1.

    Raises:
        OSError: no mount shows it.
    """
    if (own := _own_path()) is not None:
        for root, place in cgroup_mounts(Path("/proc/self/mountinfo").read_bytes()):
            # A mount can show only a part of the hierarchy.
            if own == root or own.startswith(root.rstrip("/") + "/"):
                return Path(place + own[len(root.rstrip("/")) :])
    raise OSError("there is no control group of version 2: mount cgroup2, usually at /sys/fs/cgroup")


def _own_path() -> str | None:
    """Return the path of the group in this process's namespace of control groups, or None without version 2."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, _, path = line.split(":", 2)
        if number == "0":
            return path
    return None


def is_writable_by_owner() -> bool:
    """Return whether root can make groups here without CAP_DAC_OVERRIDE. It can't in the root of the hierarchy."""
    try:
        return bool(own_cgroup().stat().st_mode & stat.S_IWUSR)
    except OSError:
        return True  # no mount shows the group, so it is a container's, and root owns it


def writable_group() -> OwnGroup:
    """Return this process's control group. The caller closes it.

    Raises:
        OSError: there is none, or this process may not write there. The message has the remedy.
    """
    try:
        path = own_cgroup()
    except OSError:
        if is_initial_namespace() or (own := _own_path()) is None:
            raise
        return _mount_anew(own)
    if not os.statvfs(path).f_flag & os.ST_RDONLY:
        return OwnGroup(path, str(path))
    try:
        return _clone_writable(path)
    except OSError as error:
        if not is_initial_namespace() and (own := _own_path()) is not None:
            with contextlib.suppress(OSError):
                return _mount_anew(own)
        raise OSError(
            errno.EROFS,
            f"the control group {path} is read-only here, and this process can't change that for itself "
            f"({error.strerror}): let the service write there (ReadWritePaths= of its unit), or mount it writable into "
            "the container (-v /sys/fs/cgroup:/sys/fs/cgroup:rw)",
        ) from error


def is_initial_namespace() -> bool:
    """Return whether this process is in the host's namespace of control groups."""
    return os.stat("/proc/self/ns/cgroup").st_ino == _INITIAL_NAMESPACE


def _clone_writable(path: Path) -> OwnGroup:
    """Return the group by a writable copy of a read-only mount, for this process alone."""
    fd = _call(_OPEN_TREE, _AT_FDCWD, os.fsencode(path), _OPEN_TREE_CLONE | os.O_CLOEXEC)
    try:
        attributes = struct.pack("=QQQQ", 0, _RDONLY, 0, 0)
        _call(_MOUNT_SETATTR, fd, b"", _AT_EMPTY_PATH, attributes, len(attributes))
        if os.fstatvfs(fd).f_flag & os.ST_RDONLY:
            raise OSError(errno.EROFS, "its file system is read-only")
    except OSError:
        os.close(fd)
        raise
    return OwnGroup(Path(f"/proc/self/fd/{fd}"), str(path), fd)


def _mount_anew(own: str) -> OwnGroup:
    """Return the group by a new mount of cgroup2, for this process alone.

    Never in the host's namespace of control groups: there, a new mount would change the options of the whole hierarchy.
    """
    if own.startswith("/.."):
        raise OSError(errno.EXDEV, "this process's control group is outside of its namespace of control groups")
    context_fd = _call(_FSOPEN, b"cgroup2", _FSOPEN_CLOEXEC)
    try:
        _call(_FSCONFIG, context_fd, _FSCONFIG_CMD_CREATE, None, None, 0)
        fd = _call(_FSMOUNT, context_fd, _FSMOUNT_CLOEXEC, _NOSUID_NODEV_NOEXEC)
    except OSError as error:
        told = f"no mount shows this process's control group, and it may not mount cgroup2 for itself: {error.strerror}"
        raise OSError(error.errno, f"{told}: mount cgroup2 at /sys/fs/cgroup, in its own namespace") from error
    finally:
        os.close(context_fd)
    return OwnGroup(Path(f"/proc/self/fd/{fd}{own.rstrip('/')}"), f"/sys/fs/cgroup{own.rstrip('/')}", fd)


def _call(number: int, *arguments: int | bytes | None) -> int:
    """Call a system call that returns a descriptor or 0."""
    passed = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    result: int = _libc.syscall(ctypes.c_long(number), *passed)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
