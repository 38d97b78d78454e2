"""100,000 sockets held by unprivileged processes, as many of them as the limit of descriptors asks for.

The broker keeps no trace of a socket that it handed over: its memory stays, and it is as fast as a fresh broker.
"""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import nsbroker
from nsbroker import SocketSpec
from place import broker_running, namespaces_made
from support.process_state import idle_descriptors, resident_kib
from turns import Row, at_most, by_turns, compare
from workers import Worker, raise_descriptor_limit

SOCKETS = 100_000
NAMESPACES = 50
BATCH = 200
SPARE_DESCRIPTORS = 1000
GROWTH_MB = 1


def measure(quick: bool) -> Iterator[Row]:
    """Open and hold them, then ask that broker and a fresh one in turns. A short pass holds a tenth."""
    total = SOCKETS // 10 if quick else SOCKETS
    processes = math.ceil(total / min(raise_descriptor_limit() - SPARE_DESCRIPTORS, total))
    with (
        namespaces_made(NAMESPACES) as names,
        broker_running() as broker,
        broker_running() as fresh,
        Worker(_hold_more, str(broker.socket_path), names) as ask_ours,
        Worker(_hold_more, str(fresh.socket_path), names) as ask_fresh,
        ExitStack() as stack,
    ):
        holders = [stack.enter_context(Worker(_hold_more, str(broker.socket_path), names)) for _ in range(processes)]
        for holder in (*holders, ask_ours):
            holder(0)  # objects of the first use exist
        descriptors, before_mb = idle_descriptors(broker.pid), resident_kib(broker.pid) / 1024
        seconds = _hold(holders, total)
        now, after_mb = idle_descriptors(broker.pid), resident_kib(broker.pid) / 1024
        assert now == descriptors, f"the broker has {now} descriptors, it had {descriptors}"
        figures = by_turns(5 if quick else 40, ours=lambda: float(ask_ours(0)), fresh=lambda: float(ask_fresh(0)))
    title = f"{total:,} sockets held by {processes} process{'es' * (processes > 1)}: {BATCH} more"
    note = f"opened at {total / seconds:,.0f} a second, in requests of {BATCH}, in {NAMESPACES} namespaces"
    yield compare(title, "ms", figures, "fresh", at_most(1.2), beside="a fresh broker", scale=1e3, note=note)
    growth = {"ours": [after_mb], "before": [before_mb]}
    goal = at_most((before_mb + GROWTH_MB) / before_mb)
    yield compare("... the broker's memory then", "MB", growth, "before", goal, beside="what it was before")


def _hold(holders: list[Worker], total: int) -> float:
    """Have all processes together hold so many, and return the seconds."""
    start = time.perf_counter()
    for i, holder in enumerate(holders):
        holder(total // len(holders) + (i < total % len(holders)))
    seconds = time.perf_counter() - start
    held = sum(_sockets_of(holder.pid) for holder in holders)
    assert held >= total, f"{held} sockets are open, of {total}"
    return seconds


def _hold_more(path: str, names: list[str]) -> Callable[[int], float]:
    client = nsbroker.Client(path)
    held: list[socket.socket] = []
    specs = [SocketSpec(names[i * len(names) // BATCH], socket.AF_INET, socket.SOCK_DGRAM) for i in range(BATCH)]

    def hold(count: int) -> float:
        """Open so many more, or one request's with 0, which it closes. Return the seconds of opening."""
        start = time.perf_counter()
        passing = [] if count else client.open(specs)
        while count > 0:
            held.extend(client.open(specs[:count]))
            count -= BATCH
        seconds = time.perf_counter() - start
        for sock in passing:
            sock.close()
        return seconds

    return hold


def _sockets_of(pid: int) -> int:
    links = (os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd"))
    return sum(link.startswith("socket:") for link in links)


if __name__ == "__main__":
    from turns import main

    main(measure)
