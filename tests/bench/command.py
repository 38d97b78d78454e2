"""nsbroker-get for one socket, from start to end, against the start of the interpreter that it is written for."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nsbroker.cli
from place import broker_running, namespaces_made
from support.users import USER, can_start_programs
from turns import Row, Skipped, at_most, by_turns, compare
from workers import Worker


def measure(quick: bool) -> Iterator[Row]:
    """As a user without any rights: the interpreter alone, and `nsbroker-get NS listen -- true`."""
    tool = Path(sys.executable).parent / "nsbroker-get"
    if not tool.exists() or not Path(importlib.util.cache_from_source(str(nsbroker.cli.__file__))).exists():
        raise Skipped("nsbroker-get is not installed here, with its byte code: tests/bench/run does that")
    with (
        namespaces_made(1) as (name,),
        broker_running() as broker,
        Worker(_runner, str(broker.socket_path), uid=USER if can_start_programs() else 0) as run,
    ):
        bare = [sys.executable, "-I", "-c", "pass"]
        listen = [str(tool), name, "listen", "-l", "127.0.0.1:0", "--", "/bin/true"]
        figures = by_turns(5 if quick else 60, ours=lambda: float(run(listen)), bare=lambda: float(run(bare)))
    beside = "`python3 -I -c pass`"
    yield compare("nsbroker-get NS listen -- true", "ms", figures, "bare", at_most(2.5), beside=beside, scale=1e3)


def _runner(path: str) -> Callable[[list[str]], float]:
    def run(command: list[str]) -> float:
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        quiet = [(os.POSIX_SPAWN_DUP2, null, fd) for fd in (0, 1)]
        start = time.perf_counter()
        pid = os.posix_spawn(command[0], command, {"NSBROKER_SOCKET": path}, file_actions=quiet)
        _, status = os.waitpid(pid, 0)
        seconds = time.perf_counter() - start
        os.close(null)
        assert status == 0, f"{command} ended with {status}"
        return seconds

    return run


if __name__ == "__main__":
    from turns import main

    main(measure)
