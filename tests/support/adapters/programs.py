"""Servers in a namespace: Debian's programs, and functions in Python. The start of each waits until it listens."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from support.inside import call_inside, enter, path_of
from support.users import start_as_user
from support.waiting import wait_until

_LISTENS = "0A"
_BOUND = "07"
"""States of TCP and UDP sockets. Source: include/net/tcp_states.h."""


def find_program(name: str) -> str | None:
    """The path of a command, which may be one for administrators."""
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


class Program:
    """A command that runs in a namespace until `stop`."""

    def __init__(self, namespace: str, command: Sequence[str], log: Path, ports: Sequence[int]) -> None:
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                ["ip", "netns", "exec", namespace, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

        def listens() -> bool:
            assert self._process.poll() is None, f"{command[0]} ended: {log.read_text()}"
            return listens_on(f"/proc/{self._process.pid}", ports)

        try:
            wait_until(listens)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Function:
    """A function of Python that serves in a namespace, in a child that is root, until `stop`."""

    def __init__(self, namespace: str, ports: Sequence[int], function: Callable[..., Any], *args: Any) -> None:
        self._child = start_as_user(0, 0, _serve, namespace, function, args)

        def listens() -> bool:
            try:
                return listens_on(f"/proc/{self._child.pid}", ports)
            except OSError:
                self._child.result()  # It ended: by an exception, which is raised here.
                raise

        wait_until(listens)

    def stop(self) -> None:
        self._child.kill()


def wait_for_listener(namespace: str, port: int) -> None:
    """Wait until something in a namespace listens on this port."""
    wait_until(lambda: bool(call_inside(namespace, listens_on, "/proc/thread-self", [port])))


def _serve(namespace: str, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    enter(path_of(namespace))
    warnings.simplefilter("ignore")  # The warnings of a server's library are not ours.
    return function(*args)


def listens_on(process: str, ports: Sequence[int]) -> bool:
    """Whether something in the namespace of this process, given by its place in /proc, listens on all these ports."""
    found = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"{process}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state = line.split()[:4]
            if state == (_LISTENS if table.startswith("tcp") else _BOUND):
                found.add(int(local.rpartition(":")[2], 16))
    return found.issuperset(ports)
