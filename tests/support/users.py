"""Runs functions as another user: in a forked child, so that no interpreter need be within that user's reach."""

from __future__ import annotations

import os
import pickle
import select
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from support.own_uids import claim_uids

UIDS = claim_uids()
"""For tests that need many users."""

USER, OTHER_USER = UIDS[0], UIDS[1]
"""Users without any rights."""

GROUP = 65534
"""The group that may connect to the tests' brokers. The configuration names a group, so it is one of every system."""

DEADLINE_S = 120


class ChildError(Exception):
    """The child ended without a result, or with an exception that can't be passed on."""


class Child:
    """A function in a child process of its own. `result` waits for it, and `results` can be read when it has ended."""

    def __init__(self, pid: int, results: int) -> None:
        self.pid = pid
        self.results = results

    def result(self, timeout_s: float = DEADLINE_S) -> Any:
        """Return the function's result, or raise its exception."""
        try:
            answer = self._read(time.monotonic() + timeout_s)
        except BaseException:
            self.kill()
            raise
        status = self._wait()
        if not answer:
            raise ChildError(f"the child ended with status {status} and without a result")
        returned, value = pickle.loads(answer)
        if returned:
            return value
        raise value

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End it at once."""
        os.kill(self.pid, number)
        self._wait()

    def _wait(self) -> int:
        os.close(self.results)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def _read(self, deadline: float) -> bytes:
        answer = b""
        while True:
            if not select.select([self.results], [], [], max(0, deadline - time.monotonic()))[0]:
                raise TimeoutError("the child did not end in time")
            part = os.read(self.results, 65536)
            if not part:
                return answer
            answer += part


def start_as_user(uid: int, gid: int, function: Callable[..., Any], *args: Any, groups: Sequence[int] = ()) -> Child:
    """Start `function` in a child that is this user, in only these groups, and without any capability.

    Import the modules of the function before, because its user may not be able to read the files.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads: the child uses none of theirs
        pid = os.fork()
    if pid == 0:
        os.close(reader)
        _run_child(writer, uid, gid, groups, function, args)
    os.close(writer)
    return Child(pid, reader)


def as_user(uid: int, gid: int, function: Callable[..., Any], *args: Any, groups: Sequence[int] = ()) -> Any:
    """Call `function` as this user, and return its result or raise its exception."""
    return start_as_user(uid, gid, function, *args, groups=groups).result()


def as_unprivileged(function: Callable[..., Any], *args: Any) -> Any:
    """Call `function` as the user without any rights."""
    return as_user(USER, GROUP, function, *args)


def can_start_programs() -> bool:
    """Whether the user without any rights can run this Python with this package: it may lie in root's home."""
    return as_unprivileged(_starts, [sys.executable, "-I", "-c", "import nsbroker.drivers.thread"])


def _starts(command: list[str]) -> bool:
    try:
        return subprocess.run(command, cwd="/", capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _run_child(
    writer: int, uid: int, gid: int, groups: Sequence[int], function: Callable[..., Any], args: Sequence[Any]
) -> NoReturn:
    status = 1
    try:
        if os.geteuid() == 0:
            os.setgroups(list(groups))
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
        _write(writer, _outcome(function, args))
        status = 0
    finally:
        # Not sys.exit: the test runner's own clean-up belongs to the parent.
        os._exit(status)


def _outcome(function: Callable[..., Any], args: Sequence[Any]) -> bytes:
    try:
        result = (True, function(*args))
    except BaseException as error:
        result = (False, error)
    try:
        answer = pickle.dumps(result)
        pickle.loads(answer)
    except Exception:
        answer = pickle.dumps((False, ChildError(repr(result[1]))))
    return answer


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
