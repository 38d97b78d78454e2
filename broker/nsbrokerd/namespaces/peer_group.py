"""The peer group of this process's mount of /run/netns, for clients that keep sockets in stock.

A name is a mount below it. A client whose own mount is in the same group, or is a slave of the group, sees every name
appear and disappear at the same moment as the broker.
"""

from __future__ import annotations

import os
from time import monotonic

from nsbroker.wire import read_groups, read_mount_id

from .netns import NETNS_DIRECTORY

_KEPT_S = 0.1
"""To find a mount takes as long as to make several sockets."""

_known: tuple[float, int] = (0.0, 0)


def peer_group() -> int:
    """Return the group that the mount shares, otherwise the one whose slave it is. 0 means neither, or unknown."""
    global _known
    now = monotonic()
    if now < _known[0]:
        return _known[1]
    try:
        mount_id = _mount_of(NETNS_DIRECTORY)
        with open("/proc/self/mountinfo", "rb") as mountinfo:
            shared, master = read_groups(mountinfo, mount_id)
    except (OSError, ValueError):
        return 0
    _known = now + _KEPT_S, shared or master
    return _known[1]


def _mount_of(path: str) -> int:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        with open(f"/proc/self/fdinfo/{fd}", "rb", buffering=0) as fdinfo:
            return read_mount_id(fdinfo.read(1024).splitlines())
    finally:
        os.close(fd)
