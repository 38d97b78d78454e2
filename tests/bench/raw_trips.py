"""The raw client in C, as a function: the same for this broker and for the floor."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from typing import NamedTuple

from place import c_program
from support.users import GROUP, USER

WARM_UP = 200


class Trip(NamedTuple):
    """When a round trip began, by time.monotonic, and how many seconds it took."""

    begin: float
    seconds: float


def run_raw(
    path: str, name: str, trips: int, cpus: Iterable[int], sockets: int = 1, clients: int = 1
) -> list[list[Trip]]:
    """Run unprivileged clients on these processors at the same time, and return the trips of each.

    Each asks so many times for so many sockets.
    """
    warm_up = max(1, WARM_UP // sockets)
    command = [c_program("roundtrip"), path, name, *map(str, (sockets, warm_up, trips))]
    pinned = ["taskset", "-c", ",".join(map(str, cpus)), *command]
    running = [
        subprocess.Popen(
            pinned,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            user=USER,
            group=GROUP,
            extra_groups=[],
        )
        for _ in range(clients)
    ]
    for client in running:
        assert client.stdout is not None
        assert client.stdout.readline() == "warm\n", f"{client.args!r} ended"
    for client in running:
        assert client.stdin is not None
        client.stdin.write("\n")
        client.stdin.flush()
    return [_finish(client) for client in running]


def _finish(client: subprocess.Popen[str]) -> list[Trip]:
    printed, _ = client.communicate()
    assert client.returncode == 0, f"{client.args!r} ended with {client.returncode}"
    return [Trip(*(int(word) / 1e9 for word in line.split())) for line in printed.splitlines()]
