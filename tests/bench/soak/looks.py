"""Looks at the resources of all processes in each period, and the verdict whether they grew."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from typing import NamedTuple

from support.process_state import children, idle_descriptors, resident_kib, thread_count
from support.waiting import LIMIT_S

SETTLED_S = 1.0
"""A broker that has had the same descriptors and threads for so long has closed everything that it will close."""

GROWTH_MB = 4
"""More memory than this at the end than at the beginning is not flat."""

LASTING = 2
"""Descriptors that the broker makes when it first needs them, and keeps."""


class Look(NamedTuple):
    """One moment, while all clients paused. `clients` are the processes of all clients together.

    Attributes:
        minute: since the begin.
        life: the number of restarts of the broker until then.
        porter_mb: the memory of the largest process that the broker has started.
    """

    minute: float
    life: int
    broker_mb: float
    broker_fds: int
    broker_threads: int
    porter_mb: float
    clients_mb: float
    clients_fds: int
    requests: int
    median_ms: float
    slow_ms: float
    slowest_ms: float


class Resources(NamedTuple):
    """The resources of some processes."""

    megabytes: float
    descriptors: int


def settle(broker: int) -> None:
    """Wait until a broker's descriptors and threads have been the same for a while."""
    seen, since = _size(broker), time.monotonic()
    deadline = since + LIMIT_S
    while time.monotonic() < since + SETTLED_S:
        assert time.monotonic() < deadline, "the broker does not come to rest while all clients pause"
        time.sleep(SETTLED_S / 20)
        now = _size(broker)
        if now != seen:
            seen, since = now, time.monotonic()


def _size(pid: int) -> tuple[int, int]:
    return len(os.listdir(f"/proc/{pid}/fd")), thread_count(pid)


def resources(pids: Sequence[int]) -> Resources:
    """Return the memory and the descriptors of these processes together."""
    return Resources(sum(map(resident_kib, pids)) / 1024, sum(map(idle_descriptors, pids)))


def porters(broker: int) -> list[int]:
    """Return the processes that a broker has started, and those that they have."""
    found = children(broker)
    return [*found, *(grandchild for child in found for grandchild in children(child))]


class Verdict(NamedTuple):
    """A figure at the beginning and at the end, and its extremes."""

    what: str
    first: float
    last: float
    low: float
    high: float
    grew: bool

    def __str__(self) -> str:
        text = f"{self.what}: {self.first:.1f} at the beginning, {self.last:.1f} at the end"
        return f"{text}, {self.low:.1f} .. {self.high:.1f}{': GREW' if self.grew else ''}"


def verdict(what: str, values: Sequence[float], growth: float) -> Verdict:
    """Compare the first quarter with the last. `growth` is the most that is still flat.

    The first look is left out if there are others: caches were being filled.
    """
    part = max(1, len(values) // 4)
    first, last = statistics.median(values[1 : 1 + part] or values), statistics.median(values[-part:])
    return Verdict(what, first, last, min(values), max(values), last > first + growth)


def verdicts(looks: Sequence[Look]) -> list[Verdict]:
    """Judge the clients over all the time, and the broker over its last life, which is the longest."""
    last_life = [look for look in looks if look.life == looks[-1].life]
    return [
        verdict("memory of the broker (MB)", [look.broker_mb for look in last_life], GROWTH_MB),
        verdict("descriptors of the broker", [look.broker_fds for look in last_life], LASTING),
        verdict("threads of the broker", [look.broker_threads for look in last_life], LASTING),
        verdict("memory of a porter (MB)", [look.porter_mb for look in last_life], GROWTH_MB),
        verdict("memory of the clients (MB)", [look.clients_mb for look in looks], GROWTH_MB),
        verdict("descriptors of the clients", [look.clients_fds for look in looks], 0),
    ]
