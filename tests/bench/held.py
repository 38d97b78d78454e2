"""100,000 sockets held by unprivileged processes, as many of them as the limit of descriptors asks for.

The broker keeps nothing of a socket that it handed over: its memory stays, and the last tenth costs what the first did.
"""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import nsbroker
from broker_process import BrokerProcess
from nsbroker import SocketSpec
from place import broker_running, namespaces_made
from process_state import resident_kib
from turns import Row, at_most, compare
from workers import Worker, raise_descriptor_limit

SOCKETS, PARTS = 100_000, 10
NAMESPACES = 50
BATCH = 200
SPARE_DESCRIPTORS = 1000
GROWTH_MB = 1


def measure(quick: bool) -> Iterator[Row]:
    """Open them part by part, and hold all; the short pass holds a tenth."""
    total = SOCKETS // PARTS if quick else SOCKETS
    processes = math.ceil(total / min(raise_descriptor_limit() - SPARE_DESCRIPTORS, total))
    with namespaces_made(NAMESPACES) as names, broker_running() as broker, ExitStack() as stack:
        path = str(broker.socket_path)
        holders = [stack.enter_context(Worker(_hold_more, path, names)) for _ in range(processes)]
        for holder in holders:
            holder(0)  # what is needed first is there
        descriptors, before_mb = broker.descriptors(), _resident_mb(broker)
        parts = [_open_part(holders, total // PARTS) for _ in range(PARTS)]
        after_mb = _resident_mb(broker)
        held = sum(_sockets_of(holder.pid) for holder in holders)
        assert held >= total, f"{held} sockets are open, of {total}"
        assert broker.descriptors() == descriptors, f"the broker had {descriptors} descriptors: {broker.descriptors()}"
    title = f"{total:,} sockets held by {processes} process{'es' * (processes > 1)}"
    figures = {"ours": [parts[-1]], "first": [parts[0]]}
    note = f"opened at {total / sum(parts):,.0f} a second, in requests of {BATCH}, in {NAMESPACES} namespaces"
    yield compare(
        f"{title}: opening the last tenth", "s", figures, "first", at_most(1.2), beside="the first", note=note
    )
    figures = {"ours": [after_mb], "before": [before_mb]}
    goal = at_most((before_mb + GROWTH_MB) / before_mb)
    yield compare("... the broker's memory then", "MB", figures, "before", goal, beside="before them")


def _open_part(holders: list[Worker], count: int) -> float:
    """Seconds until all processes together hold so many more."""
    start = time.perf_counter()
    shares = [count // len(holders) + (i < count % len(holders)) for i in range(len(holders))]
    for holder, share in zip(holders, shares, strict=True):
        holder(share)
    return time.perf_counter() - start


def _hold_more(path: str, names: list[str]) -> Callable[[int], None]:
    client = nsbroker.Client(path)
    held: list[socket.socket] = []

    def hold(count: int) -> None:
        specs = [SocketSpec(names[i * len(names) // BATCH], socket.AF_INET, socket.SOCK_DGRAM) for i in range(BATCH)]
        if not count:
            for sock in client.open(specs):
                sock.close()
        while count > 0:
            held.extend(client.open(specs[:count]))
            count -= BATCH

    return hold


def _sockets_of(pid: int) -> int:
    links = (os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd"))
    return sum(link.startswith("socket:") for link in links)


def _resident_mb(broker: BrokerProcess) -> float:
    return resident_kib(broker.pid) / 1024


if __name__ == "__main__":
    from turns import main

    main(measure)
