"""Finds the policy's names for a network namespace that a client sent. A porter has proven that it is one."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
import time
from typing import TypeGuard

from .file_identity import Identity, identify
from .mounts import MountChanges
from .netns import HOST, identity, list_names

OWN = "@own"

# Source: include/uapi/linux/nsfs.h.
_NS_GET_USERNS = 0xB701
_NS_GET_OWNER_UID = 0xB704

_RESCAN_S = 1.0
"""Without a mount, an unknown namespace causes a new scan of all names at most this often: for symbolic links."""


class SentNamespaces:
    """Knows network namespaces by descriptor."""

    def __init__(self, home_fd: int) -> None:
        self._home = identify(home_fd)
        user_fd = os.open("/proc/self/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._user = identify(user_fd)
        finally:
            os.close(user_fd)
        with open("/proc/sys/kernel/overflowuid") as file:
            self._overflow_uid = int(file.read())
        self._changes: MountChanges | None = None
        self._names: dict[Identity, list[str]] = {}
        self._scanned_at = 0.0

    def is_on_nsfs(self, found: Identity | None) -> TypeGuard[Identity]:
        """Return whether a directory entry is a namespace, by the result of `identity`."""
        return found is not None and found[0] == self._home[0]

    def names_of(self, fd: int, uid: int) -> list[str]:
        """List the names that the policy has for this namespace and this user, including "@host" and "@own"."""
        wanted = identify(fd)
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
            if identify(user_fd) == self._user:
                return False
            owner = bytearray(4)
            fcntl.ioctl(user_fd, _NS_GET_OWNER_UID, owner)
        finally:
            os.close(user_fd)
        return uid != self._overflow_uid and int.from_bytes(owner, sys.byteorder) == uid
