"""One request when there are 10, 1,000 and 10,000 namespaces: each is to cost the same.

Three brokers take turns, each with a /run/netns of its own of that size, so that all namespaces exist all the time.
The client library asks for a socket of another namespace each time, through all of them, and then always of the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

from own_netns import broker_with_namespaces
from place import processors
from roundtrip import library_client
from support.namespaces import PREFIX
from turns import Row, at_most, by_turns, compare
from workers import Worker

SIZES = (10, 1_000, 10_000)
TRIPS = 2000


def measure(quick: bool) -> Iterator[Row]:
    """All sizes take turns on one processor. The short pass leaves the largest one out."""
    sizes = SIZES[:2] if quick else SIZES
    cpus = {processors()[0]}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for size in sizes:
            names = [f"{PREFIX}{i}" for i in range(size)]
            broker = stack.enter_context(broker_with_namespaces(names, cpus))
            path = str(broker.socket_path)
            workers[f"{size} each"] = stack.enter_context(Worker(library_client, path, names, cpus=cpus))
            workers[f"{size} same"] = stack.enter_context(Worker(library_client, path, names[-1:], cpus=cpus))
        figures = by_turns(3 if quick else 20, **{key: _trips(worker) for key, worker in workers.items()})
    goal = at_most(1.2)
    for size in sizes[1:]:
        for how, what in (("same", "always of the same one"), ("each", "of another one each time")):
            title = f"a socket at {size:,} namespaces, {what}"
            ours = f"{size} {how}"
            beside = f"{SIZES[0]} namespaces"
            yield compare(title, "us", figures, f"{SIZES[0]} {how}", goal, ours=ours, beside=beside, scale=1e6)


def _trips(worker: Worker) -> Callable[[], float]:
    return lambda: float(worker(TRIPS))


if __name__ == "__main__":
    from turns import main

    main(measure)
