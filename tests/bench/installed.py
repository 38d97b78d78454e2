"""nsbroker-get as it is installed: the script beside this interpreter, from a wheel, with its byte code."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path

import nsbroker.cli
from support.users import GROUP, USER


def tool() -> str:
    """The path of nsbroker-get."""
    path = Path(sys.executable).parent / "nsbroker-get"
    byte_code = importlib.util.cache_from_source(str(nsbroker.cli.__file__))
    if not path.exists() or not Path(byte_code).exists():
        sys.exit(f"{sys.executable} has no installed nsbroker-get: run this by the Python of tests/run's environment")
    return str(path)


def spawn(command: list[str], fds: list[int], environment: dict[str, str], uid: int = USER) -> int:
    """Start a command as a user, with standard descriptors, and return its pid."""
    pid = os.fork()
    if pid:
        return pid
    try:
        for target, fd in enumerate(fds):
            os.dup2(fd, target)
        os.closerange(len(fds), 256)
        if uid:
            os.setgroups([])
            os.setresgid(GROUP, GROUP, GROUP)  # the group of the broker's socket
            os.setresuid(uid, uid, uid)
        os.chdir("/")
        os.execve(command[0], command, environment)
    finally:
        os._exit(127)


def start(function: Callable[[], object]) -> int:
    """Run a function in a child, and return its pid. It fails with status 1."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        function()
        status = 0
    finally:
        os._exit(status)
