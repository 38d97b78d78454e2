"""One socket in a namespace: by the broker without rights, and by pyroute2's `create_socket`, as root.

pyroute2 forks a process for each socket, which enters the namespace and sends the socket back.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Iterator

from place import broker_running, namespaces_made
from roundtrip import library_client
from turns import Row, Skipped, at_most, by_turns, compare
from workers import Worker

SOCKETS = 20


def measure(quick: bool) -> Iterator[Row]:
    """Some of the one, some of the other."""
    if importlib.util.find_spec("pyroute2") is None:
        raise Skipped("there is no pyroute2")
    with (
        namespaces_made(1) as names,
        broker_running() as broker,
        Worker(library_client, str(broker.socket_path), names) as ours,
        Worker(_pyroute2_client, names[0], uid=0) as theirs,
    ):
        figures = by_turns(3 if quick else 20, ours=lambda: float(ours(SOCKETS)), theirs=lambda: float(theirs(SOCKETS)))
    goal, beside = at_most(1 / 40), "pyroute2's create_socket, as root"
    yield compare("one socket, client library", "ms", figures, "theirs", goal, beside=beside, scale=1e3)


def _pyroute2_client(name: str) -> Callable[[int], float]:
    from pyroute2.netns import create_socket  # here, so that its modules are not in the other processes' memory

    def seconds_each(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            create_socket(name, flags=os.O_RDONLY).close()
        return (time.perf_counter() - start) / count

    return seconds_each


if __name__ == "__main__":
    from turns import main

    main(measure)
