"""A /run for one test alone, to put services there that would disturb the machine and other test runs."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CLONE_NEWNS = 0x00020000
_RUN = Path("/run")
_SERVICES = frozenset({"dbus", "nscd", "systemd"})
"""The directories of services that look up names."""

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def own_run() -> Iterator[None]:
    """Give this thread, and the processes that it starts, a /run without services that look up names.

    All other directories of the machine's /run are there. The mounts end with the context.
    """
    before, directory = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC), Path.cwd()
    _check(_libc.unshare(_CLONE_NEWNS))
    try:
        _cover()
        yield
    finally:
        _check(_libc.setns(before, _CLONE_NEWNS))
        os.close(before)
        os.chdir(directory)  # setns moved it to the root


def _cover() -> None:
    _mount("--make-rprivate", "/")
    machines = os.open(_RUN, os.O_PATH)
    _mount("-t", "tmpfs", "-o", "mode=755", "none", str(_RUN))
    for path in Path(f"/proc/self/fd/{machines}").iterdir():
        if path.is_dir() and path.name not in _SERVICES:
            (_RUN / path.name).mkdir(exist_ok=True)  # mount(8) makes one by itself
            _mount("--no-canonicalize", "--rbind", str(path), str(_RUN / path.name), fds=[machines])
    os.close(machines)


def _mount(*args: str, fds: list[int] | None = None) -> None:
    subprocess.run(["mount", *args], pass_fds=fds or [], check=True)


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
