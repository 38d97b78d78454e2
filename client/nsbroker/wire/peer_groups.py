"""Reads the peer groups of a mount: which other mounts get the same new mounts below it. Pure.

Both sides use it for /run/netns, whose entries are mounts. Source: mount_namespaces(7), proc_pid_mountinfo(5).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

NETNS_DIRECTORY = "/run/netns"


def read_mount_id(fdinfo: Iterable[bytes]) -> int:
    """Return the number of the mount that a descriptor is on, by the lines of its /proc/PID/fdinfo/FD.

    Raises:
        ValueError: there is no such line.
    """
    for line in fdinfo:
        if line.startswith(b"mnt_id:"):
            return int(line.split()[1])
    raise ValueError("no mnt_id")


def read_groups(mountinfo: Iterable[bytes], mount_id: int) -> tuple[int, int]:
    """Return the peer group that a mount shares, and the one whose slave it is. 0 stands for none.

    Args:
        mountinfo: the lines of /proc/PID/mountinfo. This reads no line after the mount's own.
        mount_id: the number of the mount.
    """
    head = b"%d " % mount_id
    for line in mountinfo:
        if line.startswith(head):
            fields = line.split(b" ")
            groups = {b"shared": 0, b"master": 0}
            for field in fields[6 : fields.index(b"-", 6)]:
                name, _, number = field.partition(b":")
                if name in groups:
                    groups[name] = int(number)
            return groups[b"shared"], groups[b"master"]
    return 0, 0
