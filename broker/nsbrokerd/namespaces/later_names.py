"""Whether this process sees the names that are added later under /run/netns.

A name is a mount. In the host's own mount namespace, every mount is seen. A container has another one, which gets the
host's mounts only by propagation. Source: mount_namespaces(7), proc_pid_mountinfo(5).
"""

from __future__ import annotations

import os
from pathlib import Path

from .netns import NETNS_DIRECTORY

_INITIAL_PID_NAMESPACE = 0xEFFFFFFC
"""Source: PROC_PID_INIT_INO in include/linux/proc_ns.h."""
_LAST_INITIAL_MOUNTS = 0xF0000001
"""The kernel makes its own mount namespace first. Before Linux 6.18, this has one of the first numbers that it gives
out. Source: PROC_DYNAMIC_FIRST and MNT_NS_INIT_INO in include/linux/proc_ns.h and include/uapi/linux/nsfs.h."""


def has_hosts_mounts() -> bool:
    """Return whether this process is in the mount namespace of the host's first process."""
    own = os.stat("/proc/self/ns/mnt")
    if os.stat("/proc/self/ns/pid").st_ino == _INITIAL_PID_NAMESPACE:
        try:
            return os.path.samestat(own, os.stat("/proc/1/ns/mnt"))
        except OSError:
            pass  # this takes CAP_SYS_PTRACE, or /proc hides other processes
    return own.st_ino <= _LAST_INITIAL_MOUNTS


def has_hosts_pids() -> bool:
    """Return whether this process sees the pids of all clients. Otherwise, clients elsewhere have the pid 0."""
    return os.stat("/proc/self/ns/pid").st_ino == _INITIAL_PID_NAMESPACE


def why_later_names_are_hidden(directory: Path = Path(NETNS_DIRECTORY)) -> str | None:
    """Return why this process will not see names that are added later, or None if it will."""
    try:
        if has_hosts_mounts() or gets_mounts(Path("/proc/self/mountinfo").read_bytes(), _mount_of(directory)):
            return None
    except OSError as error:
        return f"can't find out whether names that are added later can be seen: {error.strerror}"
    return (
        f"namespaces that get a name later can't be seen here, because new mounts below {directory} of the host do not "
        f"get here: give the container -v {directory}:{directory}:rslave (in a unit, do not set MountFlags=private)"
    )


def gets_mounts(mountinfo: bytes, mount_id: int) -> bool:
    """Return whether a mount gets new mounts from others: it is shared with them, or their slave. Pure."""
    for line in mountinfo.split(b"\n"):
        fields = line.split(b" ")
        if fields[0] == str(mount_id).encode():
            optional = fields[6 : fields.index(b"-", 6)]
            return any(one.startswith((b"shared:", b"master:")) for one in optional)
    return False


def _mount_of(path: Path) -> int:
    """Return the number of the mount that a path, or the nearest directory above it that exists, is on."""
    while not path.exists():
        path = path.parent
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    finally:
        os.close(fd)
    return next(int(line.split()[1]) for line in lines if line.startswith("mnt_id:"))
