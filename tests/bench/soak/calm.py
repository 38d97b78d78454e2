"""The well-behaved user: one socket at a time, on a connection that it keeps. Its waits are the soak's latency."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import nsbroker
from nsbroker import SocketSpec

from .client import TIMEOUT_S
from .judge import KINDS, Judge
from .told import Tally, Told, live

PAUSE_S = 0.02


class Latency(NamedTuple):
    """Of the requests in one period: their number, and milliseconds."""

    requests: int
    median_ms: float
    slow_ms: float
    """99 % took no longer."""
    slowest_ms: float


def latency_of(seconds: Sequence[float]) -> Latency:
    """Return the figures of a period, which must have requests."""
    ordered = sorted(seconds)
    count = len(ordered)
    return Latency(count, *(1e3 * ordered[at] for at in (count // 2, min(count - 1, count * 99 // 100), count - 1)))


def read_latencies(directory: Path) -> list[Latency]:
    """Return the figures of all periods so far."""
    lines = (directory / "latency").read_text().splitlines()
    return [Latency(int(count), *map(float, rest)) for count, *rest in map(str.split, lines)]


def run_calm(path: str, uid: int, number: int, stable: Mapping[str, int], told: Told) -> list[Tally]:
    """Ask until told to end."""
    user = _CalmUser(path, uid, number, stable, told)
    return [live(told, number, user.judge.tally, user.act, user.rest, PAUSE_S)]


class _CalmUser:
    def __init__(self, path: str, uid: int, number: int, stable: Mapping[str, int], told: Told) -> None:
        self._client = nsbroker.Client(path, timeout=TIMEOUT_S)
        self._names, self._told = list(stable), told
        self._chance = random.Random(number)
        self._seconds: list[float] = []
        self.judge = Judge(uid, number, stable, told)

    def act(self) -> None:
        spec = SocketSpec(self._chance.choice(self._names), *KINDS[0])
        asked = time.monotonic()
        [sock] = self._client.open([spec])
        had = time.monotonic()
        self._seconds.append(had - asked)
        with sock:
            self.judge.look_at(spec, sock, asked, had)

    def rest(self) -> None:
        if self._seconds:
            with (self._told.directory / "latency").open("a") as file:
                file.write(" ".join(map(str, latency_of(self._seconds))) + "\n")
            self._seconds.clear()
        self._client.close()
        self.judge.rest()
