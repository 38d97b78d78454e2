"""The memory of answers as the kernel counts it: shared memory of the broker's control group.

A client can keep an answer's memory without having it open, for example by an O_PATH descriptor. No lease shows this,
but the kernel still counts this memory for the group of the process that made it.

Source: Documentation/admin-guide/cgroup-v2.rst, "memory.stat", and cgroup-v1/memory.rst.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple


class GroupMemory(NamedTuple):
    """The control group whose memory the kernel counts for this process, and the key of its shared memory."""

    path: Path
    key: str

    def shared_bytes(self) -> int | None:
        """Return the size of the shared memory of this process, or None if it can't be told from that of others."""
        try:
            others = set((self.path / "cgroup.procs").read_text().split()) - {str(os.getpid())}
            lines = (self.path / "memory.stat").read_text().splitlines()
        except OSError:
            return None
        return None if others else next((int(line.split()[1]) for line in lines if line.split()[0] == self.key), None)


class MemoryOfAnswers:
    """Measures the memory of all answers that this process made."""

    def __init__(self) -> None:
        self._groups: bytes | None = None
        self._group: GroupMemory | None = None

    def __call__(self) -> int | None:
        """Return the bytes, or None if the kernel does not count them by themselves."""
        try:
            with open("/proc/self/cgroup", "rb") as file:
                groups = file.read()
        except OSError:
            return None
        if groups != self._groups:  # a long list of mounts takes a while to read
            self._groups, self._group = groups, find_group()
        return self._group.shared_bytes() if self._group else None


def find_group(proc: Path = Path("/proc/self")) -> GroupMemory | None:
    """Return the group, of version 2 or 1, or None if the kernel counts no memory.

    Users can mount their own file systems at paths with any bytes. The kernel escapes only space, tab, newline and
    backslash, so nothing else may end a line or a field here. Source: proc_pid_mountinfo(5).
    """
    try:
        mounts = [os.fsdecode(line).split(" ") for line in (proc / "mountinfo").read_bytes().split(b"\n") if line]
        groups = [os.fsdecode(line).split(":", 2) for line in (proc / "cgroup").read_bytes().split(b"\n") if line]
    except OSError:
        return None
    for number, controllers, path in groups:
        if "memory" in controllers.split(","):
            return _nearest(mounts, "cgroup", path, "total_shmem")
        if number == "0" and (found := _nearest(mounts, "cgroup2", path, "shmem")):
            return found
    return None


def _nearest(mounts: list[list[str]], kind: str, path: str, key: str) -> GroupMemory | None:
    """Return the group that counts for a group: itself, or one above it."""
    for fields in mounts:
        root, place, options = fields[3], fields[4], fields[-1].split(",")
        is_wanted = fields[fields.index("-", 6) + 1] == kind and (kind == "cgroup2" or "memory" in options)
        if is_wanted and (path == root or path.startswith(root.rstrip("/") + "/")):
            top = Path(place)
            group = top / path[len(root.rstrip("/")) :].lstrip("/")
            while group != top:
                if (group / "memory.stat").exists():
                    return GroupMemory(group, key)
                group = group.parent
    return None
