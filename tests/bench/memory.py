"""The broker's memory with 1, 1,000 and 10,000 clients connected, and after they have gone.

Each client is a connection of its own that got a socket and stays. The figures are resident memory, as /proc/PID/status
has it.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable, Iterator

import nsbroker
from nsbroker import SocketSpec
from nsbrokerd.clients.admission import DESCRIPTORS_BESIDE_CLIENTS, DESCRIPTORS_FOR_CLIENT
from place import broker_running, namespaces_made
from support.brokers.process import BrokerProcess
from support.process_state import resident_kib
from support.waiting import wait_until
from turns import Goal, Row, Skipped, at_most, compare
from workers import Worker, raise_descriptor_limit

GOALS: dict[int, Goal | None] = {1: None, 1_000: at_most(35, "ours"), 10_000: at_most(45, "ours")}
GROWTH_MB = 10


def measure(quick: bool) -> Iterator[Row]:
    """Each run has a fresh broker. The quartiles are those of several runs."""
    figures: dict[str, list[float]] = {}
    with namespaces_made(1) as (name,):
        for _ in range(1 if quick else 3):
            _one_run(name, figures)
    beside = "its memory at the start"
    figures["after"] = [after - start for after, start in zip(figures["after"], figures["start"], strict=True)]
    for count, goal in GOALS.items():
        title = f"broker's memory, {count:,} client{'s' * (count > 1)}"
        yield compare(title, "MB", figures, "start", goal, ours=str(count), beside=beside)
    title = "... more than at its start, when they have gone"
    yield compare(title, "MB", figures, "start", at_most(GROWTH_MB, "ours"), ours="after", beside=beside)


def _one_run(name: str, figures: dict[str, list[float]]) -> None:
    def note(key: str, broker: BrokerProcess) -> None:
        figures.setdefault(key, []).append(resident_kib(broker.pid) / 1024)

    most = max(GOALS)
    needed = DESCRIPTORS_BESIDE_CLIENTS + DESCRIPTORS_FOR_CLIENT * most
    if raise_descriptor_limit() < needed:
        raise Skipped(f"a broker of {most:,} clients needs {needed:,} descriptors: raise the hard limit (ulimit -Hn)")
    with broker_running() as broker:
        note("start", broker)
        descriptors = broker.descriptors()
        with Worker(_connect_more, str(broker.socket_path), name) as clients:
            for count in GOALS:
                clients(count)
                note(str(count), broker)
        wait_until(lambda: broker.descriptors() <= descriptors)
        note("after", broker)


def _connect_more(path: str, name: str) -> Callable[[int], None]:
    held: list[nsbroker.Client] = []
    spec = SocketSpec(name, socket.AF_INET, socket.SOCK_STREAM)

    def connect(count: int) -> None:
        deadline = time.monotonic() + 120
        while len(held) < count:
            client = nsbroker.Client(path)
            try:
                client.open([spec])[0].close()
            except OSError as error:
                if error.errno == errno.EAGAIN and time.monotonic() < deadline:
                    time.sleep(0.1)  # a user may open only so many connections in a second
                    continue
                raise Skipped(f"after {len(held)} clients: {error}, {os.strerror(error.errno or errno.EIO)}") from error
            held.append(client)

    return connect


if __name__ == "__main__":
    from turns import main

    main(measure)
