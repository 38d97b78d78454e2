"""The control group in which sealed sockets are made: a threaded child of the broker's own, for one thread.

The kernel runs the group's programs for each socket that was made in it, for ever. Source: Documentation/admin-guide/
cgroup-v2.rst, "Threads".
"""

from __future__ import annotations

import errno
import os
import stat
import time
from pathlib import Path

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
    """A control group for the thread that makes sealed sockets. It stays as long as they do."""

    def __init__(self, name: str) -> None:
        """Make it anew. A former one, whose sockets live on with its programs, is given up.

        Raises:
            OSError: it can't be made, or another broker uses it.
        """
        self.path = own_cgroup() / name
        try:
            remove_group(name)
            self.path.mkdir(mode=0o755)
            (self.path / "cgroup.type").write_text("threaded")
            self.fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno == errno.EBUSY:
                raise OSError(error.errno, f"another broker uses the control group {self.path}") from error
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

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self.fd)


def remove_group(name: str) -> None:
    """Remove a child of the own control group, if it is there; its sockets stay sealed.

    A thread that has just ended, or was killed, is in it for a moment more.

    Raises:
        OSError: a thread is in it.
    """
    path, deadline = own_cgroup() / name, time.monotonic() + _LEAVE_S
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
