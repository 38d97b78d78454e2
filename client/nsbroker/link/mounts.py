"""This thread's own mount of /run/netns, whose entries are the names of namespaces."""

from __future__ import annotations

import os
from time import monotonic

from ..wire.peer_groups import read_groups, read_mount_id

Groups = tuple[int, int]
"""The peer group that a mount shares, and the one whose slave it is. 0 stands for none."""

_KEPT_S = 0.1
"""To find a mount in the list of all takes as long as to get some sockets."""
_MOST_BYTES = 1024


class OwnMount:
    """Finds the peer groups of the mount, and remembers them for a moment. Each thread needs an object of its own."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._groups: Groups = (0, 0)
        self._known_until = 0.0

    def groups(self) -> Groups:
        """Return the groups of the mount, as this thread sees it.

        Raises:
            OSError: there is no such directory, or no /proc.
            ValueError: /proc has another form than proc(5) describes.
        """
        now = monotonic()
        if now >= self._known_until:
            mount_id = self._mount_id()
            with open("/proc/thread-self/mountinfo", "rb") as mountinfo:
                self._groups = read_groups(mountinfo, mount_id)
            self._known_until = now + _KEPT_S
        return self._groups

    def _mount_id(self) -> int:
        fd = os.open(self._directory, os.O_PATH | os.O_CLOEXEC)
        try:
            with open(f"/proc/thread-self/fdinfo/{fd}", "rb", buffering=0) as fdinfo:
                return read_mount_id(fdinfo.read(_MOST_BYTES).splitlines())
        finally:
            os.close(fd)
