"""The raw client in C, as functions: the same for this broker and for the floor."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from typing import NamedTuple

from place import c_program
from users import NOBODY

WARM_UP = 200


class Trip(NamedTuple):
    """When a round trip began, by time.monotonic, and how many seconds it took."""

    begin: float
    seconds: float


def start_raw(path: str, name: str, trips: int, cpus: Iterable[int], sockets: int = 1) -> subprocess.Popen[str]:
    """Start a client without rights, on these processors, that asks so many times for so many sockets."""
    warm_up = max(1, WARM_UP // sockets)
    command = [c_program("roundtrip"), path, name, *map(str, (sockets, warm_up, trips))]
    pinned = ["taskset", "-c", ",".join(map(str, cpus)), *command]
    return subprocess.Popen(pinned, stdout=subprocess.PIPE, text=True, user=NOBODY, group=NOBODY, extra_groups=[])


def finish_raw(client: subprocess.Popen[str]) -> list[Trip]:
    """Wait for its end; gives its trips."""
    printed, _ = client.communicate()
    assert client.returncode == 0, f"{client.args!r} ended with {client.returncode}"
    return [Trip(*(int(word) / 1e9 for word in line.split())) for line in printed.splitlines()]
