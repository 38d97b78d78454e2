"""Checks the descriptors that clients send: each must be a network namespace. Finds the policy's names for it.

This module never asks the descriptor's file system, because a FUSE file system of the client might never answer.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
import sys
import time
from typing import TypeGuard

from .mounts import MountChanges
from .netns import HOST, identity, list_names

OWN = "@own"

# Source: include/uapi/linux/nsfs.h.
_NS_GET_USERNS = 0xB701
_NS_GET_NSTYPE = 0xB703
_NS_GET_OWNER_UID = 0xB704
_CLONE_NEWNET = 0x40000000

# Source: statx(2), include/uapi/linux/stat.h.
_AT_EMPTY_PATH = 0x1000
_AT_STATX_DONT_SYNC = 0x4000
_STATX_BYTES = 256
_STATX_INO_AT = 32
_STATX_DEV_AT = 136

_RESCAN_S = 1.0
"""Without a mount, an unknown namespace causes a new scan of all names at most this often: for symbolic links."""

_libc = ctypes.PyDLL(None, use_errno=True)
_statx = _libc.statx
_statx.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p]

Identity = tuple[int, int]
"""Device and inode of a namespace: unique while it exists."""


def _identify(fd: int) -> Identity:
    """Return device and inode of an open file from the kernel's memory, without asking the file system."""
    buffer = ctypes.create_string_buffer(_STATX_BYTES)
    if _statx(fd, b"", _AT_EMPTY_PATH | _AT_STATX_DONT_SYNC, 0, buffer) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    major, minor = struct.unpack_from("=II", buffer.raw, _STATX_DEV_AT)
    return os.makedev(major, minor), struct.unpack_from("=Q", buffer.raw, _STATX_INO_AT)[0]


class SentNamespaces:
    """Recognises network namespaces by descriptor."""

    def __init__(self, home_fd: int) -> None:
        self._home = _identify(home_fd)
        user_fd = os.open("/proc/self/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._user = _identify(user_fd)
        finally:
            os.close(user_fd)
        with open("/proc/sys/kernel/overflowuid") as file:
            self._overflow_uid = int(file.read())
        self._changes: MountChanges | None = None
        self._names: dict[Identity, list[str]] = {}
        self._scanned_at = 0.0

    def is_namespace(self, fd: int) -> bool:
        """Return whether a descriptor is a network namespace. If it is not, closing it can hang."""
        try:
            if not self.is_on_nsfs(_identify(fd)):
                return False  # not on nsfs, for example a pidfd, which setns(2) would take too
            return fcntl.ioctl(fd, _NS_GET_NSTYPE) == _CLONE_NEWNET
        except OSError:
            return False  # some files have not even an inode number, for example a sysctl whose interface is gone

    def is_on_nsfs(self, found: Identity | None) -> TypeGuard[Identity]:
        """Return whether a directory entry is a namespace, by the result of `identity`."""
        return found is not None and found[0] == self._home[0]

    def names_of(self, fd: int, uid: int) -> list[str]:
        """List the names that the policy has for this namespace and this user, including "@host" and "@own"."""
        wanted = _identify(fd)
        names = [HOST] if wanted == self._home else self._find_names(wanted)
        if self._is_owned_by(fd, uid):
            names.append(OWN)
        return names

    def _find_names(self, wanted: Identity) -> list[str]:
        if self._changes is None:
            self._changes = MountChanges()
            self._scan()
        elif self._changes.happened():
            self._scan()
        names = self._confirm(wanted)
        if not names and time.monotonic() - self._scanned_at > _RESCAN_S:
            self._scan()
            names = self._confirm(wanted)
        return names

    def _scan(self) -> None:
        self._names = {}
        for name in list_names():
            found = identity(name)
            if self.is_on_nsfs(found):
                self._names.setdefault(found, []).append(name)
        self._scanned_at = time.monotonic()

    def _confirm(self, wanted: Identity) -> list[str]:
        """Keep the names that mean this namespace now. It is open, so no other namespace has its inode."""
        return [name for name in self._names.get(wanted, ()) if identity(name) == wanted]

    def _is_owned_by(self, fd: int, uid: int) -> bool:
        """Return whether this user owns the user namespace that the network namespace belongs to.

        The broker's own user namespace does not count: root would own every network namespace of it. The overflow uid
        owns none: it stands for all users without a uid here.
        """
        try:
            user_fd = fcntl.ioctl(fd, _NS_GET_USERNS)
        except OSError as error:
            if error.errno == errno.EPERM:
                return False  # it belongs to a user namespace outside of the broker's
            raise
        try:
            if _identify(user_fd) == self._user:
                return False
            owner = bytearray(4)
            fcntl.ioctl(user_fd, _NS_GET_OWNER_UID, owner)
        finally:
            os.close(user_fd)
        return uid != self._overflow_uid and int.from_bytes(owner, sys.byteorder) == uid
