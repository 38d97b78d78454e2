"""The resources of the broker: at one moment, and their peaks during an attack."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from support.process_state import resident_kib, thread_count
from support.users import start_as_user
from support.waiting import Counters

from .arena import AttackedBroker
from .attack import Orders

_IDLE_S = 1.0

_INTERVAL_S = 0.2
"""A look at a broker with thousands of descriptors takes up to a millisecond."""


class Look(NamedTuple):
    """The resources at one moment. `held` is the amount that the attack holds."""

    resident_kib: int
    descriptors: int
    threads: int
    held: int = 0


def look(broker: AttackedBroker, held: int = 0) -> Look:
    """Look at a broker now."""
    return Look(resident_kib(broker.pid), _descriptors(broker.pid), thread_count(broker.pid), held)


def look_at_idle(broker: AttackedBroker) -> Look:
    """Look at a broker once it has had the same descriptors and threads for a while."""
    seen, since = look(broker), time.monotonic()
    while time.monotonic() < since + _IDLE_S:
        time.sleep(_IDLE_S / 20)
        now = look(broker)
        if now[1:] != seen[1:]:
            since = time.monotonic()
        seen = now
    return seen


class Written(NamedTuple):
    """The lengths of the files that only grow."""

    audit: int
    log: int


def written(broker: AttackedBroker) -> Written:
    return Written(*(path.stat().st_size if path.exists() else 0 for path in (broker.audit_path, broker.log_path)))


def size_of_records(broker: AttackedBroker, since: Written, *, but_of: int) -> int:
    """Return the bytes of the log and of the audit since then, without the audit records of one user."""
    with broker.audit_path.open("rb") as file:
        file.seek(since.audit)
        mark = b'"uid":%d,' % but_of
        audit = sum(len(line) for line in file if mark not in line)
    return audit + broker.log_path.stat().st_size - since.log


def _descriptors(pid: int) -> int:
    # The size of this directory is the number of its entries since Linux 6.2: proc_pid_fd(5).
    return os.stat(f"/proc/{pid}/fd").st_size or len(os.listdir(f"/proc/{pid}/fd"))


class Peaks:
    """The largest of all looks, in memory that the watching process shares."""

    def __init__(self) -> None:
        self._numbers = Counters(len(Look._fields) + 1)

    def take(self, seen: Look) -> None:
        for index, value in enumerate(seen):
            self._numbers[index] = max(self._numbers[index], value)

    @property
    def most(self) -> Look:
        return Look(*(self._numbers[index] for index in range(len(Look._fields))))

    def watch(self, broker: AttackedBroker, orders: Orders) -> None:
        """Look again and again, in a process of its own, until it is killed or the broker is gone."""
        with suppress(OSError, KeyError):
            while True:
                self.take(look(broker, orders.held))
                time.sleep(_INTERVAL_S)


@contextmanager
def watching(broker: AttackedBroker, peaks: Peaks, orders: Orders) -> Iterator[None]:
    """Watch the peaks meanwhile."""
    watcher = start_as_user(0, 0, peaks.watch, broker, orders)
    try:
        yield
    finally:
        watcher.kill()
        peaks.take(look(broker, orders.held))
