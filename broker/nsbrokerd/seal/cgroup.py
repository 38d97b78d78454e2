"""The control group in which sealed sockets are made: a threaded one, for one thread, below one for the broker.

The kernel runs the group's programs for each socket that was made in it, for ever. Source: Documentation/admin-guide/
cgroup-v2.rst, "Threads".
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
    """Find the directory of this process's control group, of version 2: alone, or beside those of version 1.

    Raises:
        OSError: there is none.
    """
    mounted = map(str.split, Path("/proc/self/mountinfo").read_text().splitlines())
    places = [(fields[3], fields[4]) for fields in mounted if fields[fields.index("-") + 1] == "cgroup2"]
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, _, path = line.split(":", 2)
        for root, place in places if number == "0" else ():
            # A mount can show a part of the hierarchy alone.
            if path == root or path.startswith(root.rstrip("/") + "/"):
                return Path(place + path[len(root.rstrip("/")) :])
    raise OSError("there is no control group of version 2 (cgroup2 is not mounted)")


def is_writable_by_owner() -> bool:
    """Tell whether root without CAP_DAC_OVERRIDE can make groups here: not in the root of the hierarchy."""
    try:
        return bool(own_cgroup().stat().st_mode & stat.S_IWUSR)
    except OSError:
        return True  # nobody can


class SealedGroup:
    """A control group for the thread that makes sealed sockets. Its programs stay as long as they do.

    It is below one that this process moves to, and never directly below the one that it was started in: beside a
    threaded group there can be no other that has processes, and systemd makes one for `ExecReload=`.
    """

    def __init__(self, name: str) -> None:
        """Make both anew, and move this process. Former ones, whose sockets live on with their programs, are given up.

        Raises:
            OSError: they can't be made, or another broker uses them.
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
                raise OSError(error.errno, f"another broker uses the control group {self.path.parent}") from error
            with contextlib.suppress(OSError):
                self.remove()
            raise OSError(error.errno, f"no control group {self.path}: {error.strerror}") from error

    def take_in(self, thread_id: int) -> None:
        """Move a thread into it.

        Raises:
            OSError: the kernel refuses.
        """
        try:
            (self.path / "cgroup.threads").write_text(str(thread_id))
        except OSError as error:
            raise OSError(error.errno, f"no thread can be moved to {self.path}: {error.strerror}") from error

    def remove(self) -> None:
        """Move this process back, and remove both; sockets stay sealed.

        Raises:
            OSError: the kernel refuses, or another thread is in it.
        """
        _move_this_process(self._home)
        remove_group(self.path.parent)


def _move_this_process(group: Path) -> None:
    (group / "cgroup.procs").write_text(str(os.getpid()))


def remove_group(path: Path) -> None:
    """Remove what a SealedGroup has made, if it is there; its sockets stay sealed.

    Raises:
        OSError: a thread is in it.
    """
    _remove(path / _SEALED)
    _remove(path)


def _remove(path: Path) -> None:
    """Remove a group. A thread that has just ended, or was killed, is in it for a moment more."""
    deadline = time.monotonic() + _LEAVE_S
    while True:
        try:
            path.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
        else:
            return
        time.sleep(_LOOK_AGAIN_S)
