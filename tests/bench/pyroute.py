"""pyroute2 in namespaces, without rights, beside pyroute2's own ways, as root.

Its own ways fork a process for each socket, which enters the namespace and sends the socket back.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

from place import broker_running, namespaces_made
from roundtrip import library_client
from support.namespaces import PREFIX
from support.users import USER
from turns import Row, Skipped, at_most, by_turns, compare
from workers import Worker

SOCKETS = 20
MANY = 50

GRANT = f"""
[[grant]]
name = "observers"
users = [{USER}]
namespaces = ["{PREFIX}*"]
sockets = ["tcp", "netlink:route"]
"""


def measure(quick: bool) -> Iterator[Row]:
    """Some of the one, some of the other."""
    if importlib.util.find_spec("pyroute2") is None:
        raise Skipped("there is no pyroute2")
    rounds = 3 if quick else 20
    with namespaces_made(MANY) as names, broker_running(grants=GRANT) as broker:
        path = str(broker.socket_path)
        with (
            Worker(library_client, path, names[:1]) as ours,
            Worker(_create_socket, names[0], uid=0) as theirs,
        ):
            figures = by_turns(rounds, ours=lambda: float(ours(SOCKETS)), theirs=lambda: float(theirs(SOCKETS)))
        goal, beside = at_most(1 / 40), "pyroute2's create_socket, as root"
        yield compare("one socket, client library", "ms", figures, "theirs", goal, beside=beside, scale=1e3)

        with Worker(_one_dump, path, names[0]) as ours, Worker(_one_dump, "", names[0], uid=0) as theirs:
            figures = by_turns(rounds, ours=lambda: float(ours(SOCKETS)), theirs=lambda: float(theirs(SOCKETS)))
        name, beside = "one IPRoute with a dump of links", "pyroute2's IPRoute(netns=), as root"
        yield compare(name, "ms", figures, "theirs", at_most(2, "ours"), beside=beside, scale=1e3)

        with Worker(_many_dumps, path, names) as ours, Worker(_many_dumps, "", names, uid=0) as theirs:
            figures = by_turns(
                3 if quick else 10, ours=ours, theirs=theirs, commands=lambda: _seconds(lambda: _ip_links(names))
            )
        name, goal = f"links of {MANY} namespaces, one event loop", at_most(1 / 4)
        beside = "pyroute2's AsyncIPRoute(netns=), as root"
        yield compare(name, "ms", figures, "theirs", goal, beside=beside, scale=1e3)
        yield compare(name, "ms", figures, "commands", at_most(1), beside="`ip -n NS link`, as root", scale=1e3)


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _create_socket(name: str) -> Callable[[int], float]:
    from pyroute2.netns import create_socket  # here, so that its modules are not in the other processes' memory

    return lambda count: (
        _seconds(lambda: [create_socket(name, flags=os.O_RDONLY).close() for _ in range(count)]) / count
    )


def _classes(path: str) -> tuple[Callable[[str], Any], Callable[[str], Any]]:
    """IPRoute and AsyncIPRoute of a namespace: by the broker at this path, or, as root, by pyroute2's own way."""
    import pyroute2

    import nsbroker
    from nsbroker.adapters.pyroute2 import AsyncIPRoute, IPRoute

    if path:
        client = nsbroker.Client(path)
        return (
            lambda name: IPRoute(nsbroker.Namespace(name, client=client)),
            lambda name: AsyncIPRoute(nsbroker.Namespace(name, client=client)),
        )
    return (
        lambda name: pyroute2.IPRoute(netns=name, flags=os.O_RDONLY),
        lambda name: pyroute2.AsyncIPRoute(netns=name, flags=os.O_RDONLY),
    )


def _one_dump(path: str, name: str) -> Callable[[int], float]:
    """Return a function that makes an object, reads the links and closes it, so many times: the median of the times."""
    make, _ = _classes(path)

    def dump() -> None:
        with make(name) as ipr:
            assert list(ipr.link("dump"))

    return lambda count: statistics.median(_seconds(dump) for _ in range(count))


def _many_dumps(path: str, names: list[str]) -> Callable[[], float]:
    _, make = _classes(path)

    async def dump(name: str) -> None:
        async with make(name) as ipr:
            assert [link async for link in await ipr.link("dump")]

    async def dump_all() -> None:
        await asyncio.gather(*(dump(name) for name in names))

    return lambda: _seconds(lambda: asyncio.run(dump_all()))


def _ip_links(names: list[str]) -> None:
    for name in names:
        subprocess.run(["ip", "-n", name, "-json", "link"], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    from turns import main

    main(measure)
