"""`nsbroker-get NS run` as an unprivileged user, and the fate of all its processes.

A fork of the test becomes nsbroker-get. It has all modules loaded, so the user need not be able to read an interpreter.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple, NoReturn

import pytest

from nsbroker.cli import main
from support.brokers.process import BrokerProcess
from support.inside import enter, path_of
from support.users import GROUP, USER, as_unprivileged
from support.waiting import LIMIT_S, wait_until

_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)


class Done(NamedTuple):
    """The end of a run. A negative status is the number of a signal."""

    status: int
    out: str
    err: str


class Forked:
    """A forked child of the test. `pid` stays reserved until `wait`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: int | None = None

    def wait(self) -> int:
        """Wait for its end, and return the exit status, or a signal as a negative number."""
        if self._status is None:
            wait_until(self._has_ended)
        assert self._status is not None
        return self._status

    def _has_ended(self) -> bool:
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            self._status = os.waitstatus_to_exitcode(status)
        return pid != 0


class Running(Forked):
    """A started nsbroker-get, which becomes the program that it runs. `err` and `out` are the ends to read."""

    def __init__(self, pid: int, out: int, err: int) -> None:
        super().__init__(pid)
        self._ends = {out: b"", err: b""}
        self._out, self._err = out, err

    def read_until(self, text: str) -> str:
        """Read standard output until it contains this text, and return everything so far."""
        return self._read_until(text, self._out)

    def read_error_until(self, text: str) -> str:
        """Read standard error until it contains this text, and return everything so far."""
        return self._read_until(text, self._err)

    def _read_until(self, text: str, end: int) -> str:
        wait_until(lambda: text in self._read_some(end))
        return self._ends[end].decode()

    def _read_some(self, end: int) -> str:
        if select.select([end], [], [], 0.01)[0]:
            self._ends[end] += os.read(end, 65536)
        return self._ends[end].decode()

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def finish(self) -> Done:
        """Read all that it has to say, and wait for its end."""
        deadline = time.monotonic() + LIMIT_S
        left = {self._out, self._err}
        while left:
            ready, _, _ = select.select(list(left), [], [], max(0, deadline - time.monotonic()))
            assert ready, f"it did not end in {LIMIT_S} s: {self._ends}"
            for fd in ready:
                part = os.read(fd, 65536)
                self._ends[fd] += part
                if not part:
                    left.remove(fd)
        return Done(self.wait(), self._ends[self._out].decode(), self._ends[self._err].decode())

    def close(self) -> None:
        if self._status is None:
            self.send(signal.SIGKILL)
            self.wait()
        os.close(self._out)
        os.close(self._err)


class RunTool:
    """Starts nsbroker-get with a broker, as USER in GROUP, or as another user."""

    def __init__(self, broker: BrokerProcess) -> None:
        self._broker = broker
        self._started: list[Running] = []

    def start(
        self,
        *args: str,
        uid: int = USER,
        groups: Sequence[int] = (),
        stdin: int | None = None,
        before: Callable[[], object] = lambda: None,
        network: str | None = None,
    ) -> Running:
        """Start it with these supplementary groups, in a network namespace by name.

        `before` is called in its process, as its user.
        """
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads: the child uses none of theirs
            pid = os.fork()
        if pid == 0:
            null = os.open(os.devnull, os.O_RDONLY)
            if network is not None:
                enter(path_of(network))
            self.become([null if stdin is None else stdin, out_write, err_write], args, uid, groups, before)
        os.close(out_write)
        os.close(err_write)
        running = Running(pid, out_read, err_read)
        self._started.append(running)
        return running

    def __call__(self, *args: str, uid: int = USER, groups: Sequence[int] = ()) -> Done:
        return self.start(*args, uid=uid, groups=groups).finish()

    def become(
        self,
        standard: list[int],
        args: Sequence[str],
        uid: int = USER,
        groups: Sequence[int] = (),
        before: Callable[[], object] = lambda: None,
    ) -> NoReturn:
        """Turn this process, a forked child of the test, into nsbroker-get. Only `standard` stays open."""
        try:
            for target, fd in enumerate(standard):
                os.dup2(fd, target)
            os.closerange(len(standard), os.sysconf("SC_OPEN_MAX"))
            if uid != 0:
                os.setgroups(groups)
                gid = GROUP if uid == USER else uid
                os.setresgid(gid, gid, gid)
                os.setresuid(uid, uid, uid)
            # As after an exec: a process that changed its user may not write to its own /proc/self.
            _libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
            os.chdir("/")
            os.environ["NSBROKER_SOCKET"] = str(self._broker.socket_path)
            os.environ["HOME"] = "/nonexistent"
            for variable in ("PYTHONPATH", "PYTHONUNBUFFERED", "XDG_CONFIG_HOME"):
                os.environ.pop(variable, None)
            before()
            os._exit(main(list(args)))
        finally:
            os._exit(99)

    def close(self) -> None:
        for running in self._started:
            running.close()


@contextmanager
def run_tool(broker: BrokerProcess) -> Iterator[RunTool]:
    """Yield a tool. All its processes, with the supervisors, must end by themselves."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    before = children()

    def left() -> set[int]:
        own = broker.process.pid if broker.process else 0
        return children() - before - {own}

    tool = RunTool(broker)
    try:
        yield tool
        tool.close()
        wait_until(lambda: _reap(left()), 30)
    finally:
        for pid in left():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def children(pid: int | None = None) -> set[int]:
    """Return the children of a process. While `run_tool` is in use, orphans are children of this one."""
    pid = pid or os.getpid()
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return {int(child) for child in file.read().split()}


def _reap(pids: set[int]) -> bool:
    return all(os.waitpid(pid, os.WNOHANG)[0] for pid in pids)


@cache
def python() -> str:
    """A Python that every user can run, for the programs of a test."""
    for candidate in ("/usr/bin/python3", shutil.which("python3") or "", os.path.realpath("/proc/self/exe")):
        if candidate and as_unprivileged(_runs, [candidate, "-I", "-c", "import socket, ctypes"]):
            return candidate
    pytest.skip("there is no Python that the unprivileged user can run")


def _runs(command: list[str]) -> bool:
    try:
        return subprocess.run(command, cwd="/", capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def program(name: str) -> str:
    """The path of a program, or a reason to skip the test."""
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if path is None:
        pytest.skip(f"there is no {name}")
    return path
