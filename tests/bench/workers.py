"""Processes that do one thing each time they are asked to, pinned to processors, and mostly without rights."""

from __future__ import annotations

import contextlib
import importlib
import os
import pkgutil
import resource
import signal
from collections.abc import Callable, Iterable
from functools import cache
from multiprocessing import Pipe
from typing import Any, Self

import nsbroker
from support.users import GROUP, USER, start_as_user

Task = Callable[..., Any]


class Worker:
    """A process of its own. It calls `make(*args)` once, which returns the task that `worker(...)` runs each time.

    Arguments and results are pickled. The next call raises an exception of the process.
    """

    def __init__(self, make: Callable[..., Task], *args: Any, uid: int = USER, cpus: Iterable[int] = ()) -> None:
        self._pipe, theirs = Pipe()
        load_client()
        raise_descriptor_limit()
        gid = GROUP if uid else 0
        self._child = start_as_user(uid, gid, _work, theirs, set(cpus), make, args)
        self.pid = self._child.pid
        theirs.close()

    def start(self, *args: Any) -> None:
        """Have it run its task. `finish` returns the result."""
        try:
            self._pipe.send(args)
        except BrokenPipeError:
            self._child.result()
            raise

    def finish(self) -> Any:
        """Wait for the task's end, and return its result."""
        try:
            return self._pipe.recv()
        except EOFError:
            self._child.result()
            raise

    def __call__(self, *args: Any) -> Any:
        self.start(*args)
        return self.finish()

    def close(self) -> None:
        """End the process."""
        # Not by closing the pipe alone: a process that was forked later holds a copy of this end.
        self._pipe.send(None)
        self._child.result()
        self._pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is None:
            self.close()
        else:
            with contextlib.suppress(ProcessLookupError):  # it has ended, and `finish` has raised its exception
                self._child.kill()
            self._pipe.close()


def _work(pipe: Any, cpus: set[int], make: Callable[..., Task], args: tuple[Any, ...]) -> None:
    # The benchmark itself removes its things at its end. This process and its children must not.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if cpus:
        os.sched_setaffinity(0, cpus)
    task = make(*args)
    while (order := pipe.recv()) is not None:
        pipe.send(task(*order))


@cache
def load_client() -> None:
    """Import all of the library: a process without rights may not be able to read the files."""
    for module in pkgutil.walk_packages(nsbroker.__path__, "nsbroker."):
        if "adapters" not in module.name and "__main__" not in module.name:
            with contextlib.suppress(ImportError):
                importlib.import_module(module.name)


def pin(pid: int, cpus: Iterable[int]) -> None:
    """Pin all threads of a process to these processors."""
    chosen = set(cpus)
    for thread in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(thread), chosen)


def raise_descriptor_limit() -> int:
    """Raise the limit of descriptors of this process and its later children to the maximum, and return it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most
