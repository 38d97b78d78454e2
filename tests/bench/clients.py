"""Sockets per second of 1, 8 and 64 clients, one at a time and in batches of 240, and the fairness among the clients.

The clients are unprivileged processes that use the client library, all on one processor. The broker is on another.
Each figure stands beside the broker in C without checks, with as many clients in C.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import nsbroker
from nsbroker import SocketSpec
from place import broker_running, floor_running, namespaces_made, processors
from raw_trips import run_raw
from turns import Goal, Row, at_least, by_turns, compare
from workers import Worker

BATCH = 240
CASES: list[tuple[int, int, Goal | None]] = [
    (1, 1, None),
    (8, 1, at_least(15_000, "ours")),
    (64, 1, None),
    (1, BATCH, None),
    (8, BATCH, at_least(70_000, "ours")),
]
"""How many clients, how many sockets in a request, and the goal."""

FAIR = at_least(0.9)
RAW_SOCKETS = 30_000
"""Of all clients in C together."""
HEAD_START_S = 0.05


def measure(quick: bool) -> Iterator[Row]:
    """Each case by turns with the floor, for a moment each time."""
    clients, *others = processors()
    brokers = {others[0] if others else clients}
    with (
        namespaces_made(1) as (name,),
        broker_running(brokers) as broker,
        floor_running(brokers) as floor,
    ):
        for count, batch, goal in CASES:
            yield from _case(str(broker.socket_path), floor, name, {clients}, (count, batch), goal, quick)


def _case(
    path: str, floor: str, name: str, cpus: set[int], case: tuple[int, int], goal: Goal | None, quick: bool
) -> Iterator[Row]:
    count, batch = case
    seconds, rounds = (0.5, 3) if quick else (2, 10)
    fairness: list[tuple[float, float]] = []
    fairness_in_c: list[tuple[float, float]] = []
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(_client, path, name, batch, cpus=cpus)) for _ in range(count)]
        figures = by_turns(
            rounds,
            ours=lambda: _rate(workers, seconds, fairness),
            floor=lambda: _raw_rate(floor, name, cpus, case, quick, []),
            in_c=lambda: _raw_rate(path, name, cpus, case, quick, fairness_in_c),
        )
    title = f"sockets per second, {count} client{'s' * (count > 1)}{f', {batch} in a request' if batch > 1 else ''}"
    yield compare(title, "/s", figures, "floor", goal, beside="C broker without checks, C clients")
    yield compare(
        f"{title}, clients in C", "/s", figures, "floor", beside="C broker without checks, C clients", ours="in_c"
    )
    if count > 1 and batch == 1:
        yield _fairness(f"... the slowest of the {count}", fairness)
        yield _fairness(f"... the slowest of the {count}, clients in C", fairness_in_c)


def _rate(workers: list[Worker], seconds: float, fairness: list[tuple[float, float]]) -> float:
    """Return the sockets per second of all clients together. The slowest and the fastest rate go to `fairness`."""
    begin = time.monotonic() + HEAD_START_S
    for worker in workers:
        worker.start(begin, begin + seconds)
    rates = [float(worker.finish()) for worker in workers]
    fairness.append((min(rates), max(rates)))
    return sum(rates)


def _client(path: str, name: str, batch: int) -> Callable[[float, float], float]:
    client = nsbroker.Client(path)
    specs = [SocketSpec(name, socket.AF_INET, socket.SOCK_STREAM)] * batch
    client.open(specs)[0].close()

    def ask(begin: float, end: float) -> float:
        """Ask from one moment (of time.monotonic) to another, and return the sockets per second."""
        time.sleep(max(0, begin - time.monotonic()))
        sockets, now = 0, begin
        while now < end:
            for sock in client.open(specs):
                sock.close()
            sockets += batch
            now = time.monotonic()
        return sockets / (now - begin)

    return ask


def _raw_rate(
    path: str, name: str, cpus: set[int], case: tuple[int, int], quick: bool, fairness: list[tuple[float, float]]
) -> float:
    """Return the same for clients in C, for the time in which all of them worked."""
    count, batch = case
    trips = max(10, RAW_SOCKETS // (10 if quick else 1) // count // batch)
    made = run_raw(path, name, trips, cpus, batch, count)
    begin, end = max(trips[0].begin for trips in made), min(trips[-1].begin for trips in made)
    rates = [batch * sum(begin <= trip.begin < end for trip in trips) / (end - begin) for trips in made]
    fairness.append((min(rates), max(rates)))
    return sum(rates)


def _fairness(title: str, shares: list[tuple[float, float]]) -> Row:
    # The first round was not counted.
    slowest, fastest = zip(*shares[1:], strict=True)
    return compare(title, "/s", {"ours": slowest, "fastest": fastest}, "fastest", FAIR, beside="the fastest")


if __name__ == "__main__":
    from turns import main

    main(measure)
