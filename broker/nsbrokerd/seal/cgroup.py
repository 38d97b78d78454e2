"""The control group in which sealed sockets are made.

It is a threaded group for one thread, below a group for the broker. The kernel runs a group's programs for each socket
that was made in it, as long as the socket lives. Source: Documentation/admin-guide/cgroup-v2.rst, "Threads".
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from pathlib import Path

_SEALED = "sealed"
_LEAVE_S = 1
_LOOK_AGAIN_S = 0.001


def own_cgroup() -> Path:
    """Return the directory of this process's control group of version 2, also beside groups of version 1.

    Raises:
        OSError: the host has none.
    """
    mounted = map(str.split, Path("/proc/self/mountinfo").read_text().splitlines())
    places = [(fields[3], fields[4]) for fields in mounted if fields[fields.index("-") + 1] == "cgroup2"]
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, _, path = line.split(":", 2)
        for root, place in places if number == "0" else ():
            # A mount can show only a part of the hierarchy.
            if path == root or path.startswith(root.rstrip("/") + "/"):
                return Path(place + path[len(root.rstrip("/")) :])
    raise OSError("there is no control group of version 2: mount cgroup2, usually at /sys/fs/cgroup")


def is_writable_by_owner() -> bool:
    """Return whether root can make groups here without CAP_DAC_OVERRIDE. It can't in the root of the hierarchy."""
    try:
        return bool(own_cgroup().stat().st_mode & stat.S_IWUSR)
    except OSError:
        return True  # without a group, the capability would not help either


class SealedGroup:
    """The control group for the thread that makes sealed sockets. Its programs stay as long as those sockets live.

    It is below a group that this process moves to, and never directly below the group in which the process started.
    The kernel allows no group with processes beside a threaded group, and systemd makes one for `ExecReload=`.
    """

    def __init__(self, name: str) -> None:
        """Make both groups, and move this process into the upper one.

        Groups of a former broker are removed. Its sockets keep their programs.

        Raises:
            OSError: the groups can't be made, or another broker uses them.
        """
        self._home = own_cgroup()
        self.path = self._home / name / _SEALED
        try:
            remove_group(self._home / name)
            self.path.parent.mkdir(mode=0o755)
            _move_this_process(self.path.parent)
            self.path.mkdir(mode=0o755)
            (self.path / "cgroup.type").write_text("threaded")
        except OSError as error:
            if error.errno == errno.EBUSY:
                failure = f"another broker uses the control group {self.path.parent}: stop it, or change broker.seal"
                raise OSError(error.errno, failure) from error
            with contextlib.suppress(OSError):
                self.remove()
            raise OSError(error.errno, f"can't make the control group {self.path}: {error.strerror}") from error

    def take_in(self, thread_id: int) -> None:
        """Move a thread into the group.

        Raises:
            OSError: the kernel refuses.
        """
        try:
            (self.path / "cgroup.threads").write_text(str(thread_id))
        except OSError as error:
            raise OSError(error.errno, f"can't move a thread to {self.path}: {error.strerror}") from error

    def remove(self) -> None:
        """Move this process back, and remove both groups. Sockets stay sealed.

        Raises:
            OSError: the kernel refuses, or another thread is in a group.
        """
        _move_this_process(self._home)
        remove_group(self.path.parent)


def _move_this_process(group: Path) -> None:
    (group / "cgroup.procs").write_text(str(os.getpid()))


def remove_group(path: Path) -> None:
    """Remove the groups that a SealedGroup made at `path`, if they are there. Sockets stay sealed.

    Raises:
        OSError: a thread is in a group.
    """
    _remove(path / _SEALED)
    _remove(path)


def _remove(path: Path) -> None:
    """Remove a group. Wait for threads that have just ended, because they stay in their group for a moment."""
    deadline = time.monotonic() + _LEAVE_S
    while True:
        try:
            return path.rmdir()
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
        time.sleep(_LOOK_AGAIN_S)
