"""The cost of a socket with a stock, against one without: wall time, and the processor time of client and broker.

    PYTHONPATH=tests:tests/bench python -P tests/bench/stock.py          (as root; needs ip)

The client is a user without rights. It opens and closes 10,000 sockets of one namespace in parts, with each size of the
stock in turn. Client and broker are on one processor, so the wall time has all that both do.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from nsbroker import Namespace
from place import broker_running, namespaces_made
from support.users import USER
from workers import Worker

SIZES = (0, 8, 16, 32, 64)
ROUNDS, SOCKETS = 10, 1000
"""Of each size, 10,000 sockets in all."""


def processor_s(pid: int) -> float:
    """Return the time that the threads of a process have run, to the nanosecond."""
    tasks = os.listdir(f"/proc/{pid}/task")
    times = []
    for task in tasks:
        with open(f"/proc/{pid}/task/{task}/schedstat") as file:
            times.append(int(file.read().split()[0]))
    return sum(times) / 1e9


def opening(path: str, name: str) -> Callable[[int], tuple[float, float]]:
    """Return a function of the client: it opens sockets, and returns its wall and processor seconds."""
    namespaces = {size: Namespace(name, path=path, stock=size) for size in SIZES}

    def open_some(size: int) -> tuple[float, float]:
        make = namespaces[size].socket
        wall, used = time.perf_counter(), time.process_time()
        for _ in range(SOCKETS):
            make().close()
        return time.perf_counter() - wall, time.process_time() - used

    for size in SIZES:
        open_some(size)
    return open_some


def main() -> None:
    """Measure, and print a line of JSON for each size: microseconds for a socket, and the ratios to no stock."""
    processor = min(os.sched_getaffinity(0))
    rounds: dict[int, list[tuple[float, float, float]]] = {size: [] for size in SIZES}
    with (
        namespaces_made(1) as (name,),
        broker_running({processor}) as broker,
        Worker(opening, str(broker.socket_path), name, uid=USER, cpus={processor}) as open_some,
    ):
        for _ in range(ROUNDS):
            for size in SIZES:
                before = processor_s(broker.pid)
                wall, used = open_some(size)
                rounds[size].append((wall, used, processor_s(broker.pid) - before))
    print(json.dumps({"python": sys.version.split()[0], "sockets of each": ROUNDS * SOCKETS}))
    for size, measured in rounds.items():
        wall, client, of_broker = (1e6 * statistics.median(column) / SOCKETS for column in zip(*measured, strict=True))
        row: dict[str, Any] = {"stock": size, "wall": wall, "client": client, "broker": of_broker}
        pairs = list(zip(rounds[0], measured, strict=True))
        row["wall, times less"] = statistics.median(without[0] / one[0] for without, one in pairs)
        row["processor, times less"] = statistics.median(sum(without[1:]) / sum(one[1:]) for without, one in pairs)
        print(json.dumps({key: round(value, 2) for key, value in row.items()}))


if __name__ == "__main__":
    main()
