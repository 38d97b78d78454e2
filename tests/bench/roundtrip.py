"""One socket, one round trip: this broker against one in C that does the same without checks.

The client of both is the same program in C (reference/roundtrip.c): request sent, reply and socket received, socket
closed. The share of the client library is a row of its own, against the same figure. Policy, limits, audit and proof
are on, and the clients are unprivileged.
"""

from __future__ import annotations

import socket
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice

import nsbroker
from nsbroker import SocketSpec
from place import broker_running, floor_running, namespaces_made, processors
from raw_trips import WARM_UP, run_raw
from turns import Row, at_most, by_turns, compare
from workers import Worker

TRIPS = 2000


def measure(quick: bool) -> Iterator[Row]:
    """Round trips on one processor, and on two."""
    first, *others = processors()
    yield from _on("one core", {first}, {first}, 3 if quick else 25)
    if others:
        yield from _on("two cores", {others[0]}, {first}, 3 if quick else 25)


def _on(where: str, brokers: set[int], clients: set[int], rounds: int) -> Iterator[Row]:
    with (
        namespaces_made(1) as (name,),
        broker_running(brokers) as broker,
        floor_running(brokers) as floor,
        Worker(library_client, str(broker.socket_path), [name], cpus=clients) as library,
        Worker(library_client, str(broker.socket_path), [name], 1, cpus=clients) as unknown,
    ):
        tails: list[float] = []
        figures = by_turns(
            rounds,
            raw=lambda: _raw_trips(str(broker.socket_path), name, clients, tails),
            floor=lambda: _raw_trips(floor, name, clients, []),
            library=lambda: float(library(TRIPS)),
            unknown=lambda: float(unknown(TRIPS)),
        )
        figures["p99"] = tails[1:]
    one = where == "one core"
    floor_name = "C broker without checks"
    p50 = f"round trip p50, {where}"
    goal = at_most(2.8) if one else None
    yield compare(f"{p50}, same client in C", "us", figures, "floor", goal, beside=floor_name, ours="raw", scale=1e6)
    note = "the whole way of a Python program: Client.open and close, against a client and a broker in C"
    goal = at_most(3.7) if one else None
    yield compare(
        f"{p50}, client library", "us", figures, "floor", goal, beside=floor_name, ours="library", scale=1e6, note=note
    )
    note = "with a wait, which is never met: such requests are not recognised when they come again"
    yield compare(
        f"{p50}, client library, decoded each time",
        "us",
        figures,
        "library",
        beside="recognised by the broker",
        ours="unknown",
        scale=1e6,
        note=note,
    )
    goal = at_most(4) if one else None
    yield compare(f"round trip p99, {where}", "us", figures, "raw", goal, beside="its p50", ours="p99", scale=1e6)


def _raw_trips(path: str, name: str, cpus: set[int], tails: list[float]) -> float:
    """Return the median trip of the client in C, in seconds. The 99th percentile goes to `tails`."""
    times = sorted(trip.seconds for trip in run_raw(path, name, TRIPS, cpus)[0])
    tails.append(times[len(times) * 99 // 100])
    return statistics.median(times)


def library_client(path: str, names: list[str], wait_s: float = 0) -> Callable[[int], float]:
    """Return a function that opens and closes so many sockets, one in each namespace, and returns a median time."""
    client = nsbroker.Client(path)
    specs = cycle([SocketSpec(name, socket.AF_INET, socket.SOCK_STREAM) for name in names])

    def trips(count: int) -> float:
        times = []
        for spec in islice(specs, WARM_UP + count):
            start = time.perf_counter()
            client.open([spec], wait_s)[0].close()
            times.append(time.perf_counter() - start)
        return statistics.median(times[WARM_UP:])

    return trips


if __name__ == "__main__":
    from turns import main

    main(measure)
