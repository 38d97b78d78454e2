"""The kernel's view of a process, thread by thread: namespaces, ids, capabilities, memory."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from support.waiting import wait_until


class ThreadState(NamedTuple):
    """The state that a socket of this thread would inherit. `uids` and `gids` are real, effective, saved, and fs."""

    netns: str
    uids: str
    gids: str
    capabilities: tuple[str, ...]


def thread_state(of: str = "thread-self") -> ThreadState:
    """The state of a thread: "PID/task/TID", or this one."""
    lines = _status(of)
    return ThreadState(
        os.readlink(f"/proc/{of}/ns/net"),
        lines["Uid"],
        lines["Gid"],
        tuple(value for key, value in lines.items() if key.startswith("Cap")),
    )


def thread_states(pid: int) -> set[ThreadState]:
    """The states of all threads of a process: one, if all are alike."""
    return {thread_state(f"{pid}/task/{tid}") for tid in os.listdir(f"/proc/{pid}/task")}


def thread_count(pid: int | str) -> int:
    return int(_status(str(pid))["Threads"])


def idle_descriptors(pid: int) -> int:
    """Return the number of open descriptors of a process, once the process is idle."""
    wait_until(lambda: state(pid) == "S")
    return len(os.listdir(f"/proc/{pid}/fd"))


def is_libffi(target: str) -> bool:
    """Return whether a descriptor's link in /proc names libffi: where ctypes uses it so, it keeps its own file open."""
    return os.path.basename(target).startswith("libffi.so")


def state(pid: int) -> str:
    """Return the state of a process: "R" runs, "S" waits, "T" was stopped, "Z" has ended."""
    return _status(str(pid))["State"][0]


def has_hanging_thread(pid: int) -> bool:
    """Return whether a thread of a process waits in a call that no signal ends."""
    return any(_status(f"{pid}/task/{tid}")["State"][0] == "D" for tid in os.listdir(f"/proc/{pid}/task"))


def children(pid: int) -> list[int]:
    """Return the processes that a thread of this number has started."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


def porters_of(pid: int) -> list[int]:
    """Return the porters of a broker that live. Their name is the one that the documents tell administrators."""
    mothers = [child for child in children(pid) if _status(str(child))["Name"] == "nsbroker-porter"]
    return [porter for mother in mothers for porter in children(mother) if state(porter) != "Z"]


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Stop a process meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: state(pid) == "T")
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def connections_to(path: str) -> int:
    """Return how many clients are connected to a Unix socket, as /proc/net/unix has it."""
    with open("/proc/net/unix") as file:
        lines = [line.split() for line in file]
    # Source: proc_pid_net(5): the sixth column is the state, 03 for connected.
    return sum(line[-1] == path and line[5] == "03" for line in lines)


def resident_kib(pid: int) -> int:
    return int(_status(str(pid))["VmRSS"].split()[0])


def _status(of: str) -> dict[str, str]:
    with open(f"/proc/{of}/status") as file:
        return {key: value.strip() for key, _, value in (line.partition(":") for line in file)}
