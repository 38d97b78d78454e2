"""The control group in which sealed sockets are made.

The kernel runs a group's programs for each socket that was made in it, as long as the socket lives. Usually it is a
threaded group for one thread, below a group for the broker. Source: Documentation/admin-guide/cgroup-v2.rst, "Threads".

Some container engines stop a container by the pids of its group and of all groups below. The kernel refuses to list the
pids of a threaded group, so runc and crun give up. There, it is a group for the whole process, which visits it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ..namespaces.later_names import has_hosts_pids
from .own_group import writable_group

T = TypeVar("T")

_SEALED = "sealed"
_MOST_HUNG = 8
_LEAVE_S = 1
_LOOK_AGAIN_S = 0.001
_PF_EXITING = 0x4  # include/linux/sched.h
_MARK_OF_PODMAN, _VARIABLE_OF_PODMAN = Path("/run/.containerenv"), "container"

EXIT_STATUS = 71
"""EX_OSERR of sysexits.h: the way back out of the group failed."""


def is_stopped_by_its_group() -> bool:
    """Return whether an engine ends this process by the pids of its control group, not by its own pid.

    Podman does, if the container shares the host's pid namespace. It sets a variable, and makes a file, which a
    read-only container does not see. Source: podman-run(1).
    """
    return has_hosts_pids() and (os.environ.get(_VARIABLE_OF_PODMAN) == "podman" or _MARK_OF_PODMAN.exists())


class SealedGroup:
    """The control group in which sealed sockets are made. Its programs stay as long as those sockets live.

    A threaded one is below a group that this process moves to, and never directly below the group in which the process
    started. The kernel allows no group with processes beside a threaded group, and systemd makes one for `ExecReload=`.
    """

    def __init__(self, name: str, *, is_threaded: bool = True) -> None:
        """Make both groups, and move this process into the upper one.

        Groups of a former broker are removed. Its sockets keep their programs.

        Args:
            name: of the upper group.
            is_threaded: make a group for one thread. Otherwise, it is for the whole process.

        Raises:
            OSError: the groups can't be made, or another broker uses them.
        """
        self._own = writable_group()
        self._home = self._own.path
        self.path = self._home / name / _SEALED
        try:
            self.path = _choose_group(self._home, name) / _SEALED
            self.path.parent.mkdir(mode=0o755)
            _move_this_process(self.path.parent)
            self.path.mkdir(mode=0o755)
            if is_threaded:
                (self.path / "cgroup.type").write_text("threaded")
        except OSError as error:
            if error.errno == errno.EBUSY:
                self._own.close()
                failure = f"another broker uses the control group {self._shown(name)}: stop it, or change broker.seal"
                raise OSError(error.errno, failure) from error
            with contextlib.suppress(OSError):
                self.remove()
            self._own.close()
            told = f"can't make the control group {self._shown(name, _SEALED)}: {error.strerror}"
            raise OSError(error.errno, told) from error

    def _shown(self, *parts: str) -> Path:
        return Path(self._own.shown, *parts)

    def take_in(self, thread_id: int) -> None:
        """Move a thread into the group.

        Raises:
            OSError: the kernel refuses.
        """
        try:
            (self.path / "cgroup.threads").write_text(str(thread_id))
        except OSError as error:
            shown = self._shown(self.path.parent.name, _SEALED)
            raise OSError(error.errno, f"can't move a thread to {shown}: {error.strerror}") from error

    def visit(self, function: Callable[[], T]) -> T:
        """Call a function while this process is in the group. It must not await. This takes up to 25 ms.

        If the way back fails, the process ends: it would seal sockets that need no seal.

        Raises:
            OSError: the kernel refuses, so `function` was not called, or an error of `function`.
        """
        try:
            _move_this_process(self.path)
            return function()
        finally:
            try:
                _move_this_process(self.path.parent)
            except BaseException:
                os._exit(EXIT_STATUS)

    def remove(self) -> None:
        """Move this process back, and remove both groups. Sockets stay sealed.

        Raises:
            OSError: the kernel refuses, or another thread is in a group.
        """
        try:
            _move_this_process(self._home)
            remove_group(self.path.parent)
        finally:
            self._own.close()


def _choose_group(home: Path, name: str) -> Path:
    """Return the group for a name, after the groups of former brokers were removed.

    A process that was killed stays in its group while it hangs in the kernel. Then this is a group with a number.

    Raises:
        OSError: another broker uses the group.
    """
    for number in range(_MOST_HUNG):
        path = home / (f"{name}.{number}" if number else name)
        try:
            remove_group(path)
        except OSError as error:
            if error.errno != errno.EBUSY or not _are_ending(path):
                raise
        else:
            return path
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))


def _are_ending(path: Path) -> bool:
    """Return whether all threads in a group, and in the sealed group below it, are about to end."""
    for group in (path, path / _SEALED):
        with contextlib.suppress(FileNotFoundError):
            for thread in (group / "cgroup.threads").read_text().split():
                with contextlib.suppress(FileNotFoundError):
                    # Source: proc_pid_stat(5). The name is in parentheses, and can contain any character.
                    fields = Path("/proc", thread, "stat").read_text().rpartition(") ")[2].split()
                    if not int(fields[6]) & _PF_EXITING:
                        return False
    return True


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
