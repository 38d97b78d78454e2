"""How long does the broker take to find a container by its name, compared with the engine's own answer?

Both ask the same service over the same socket. The engine's own answer is read by a few lines without HTTP, checks or a
namespace. The engines have their own storage, and their host is a namespace of this run.
"""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import trio

from nsbrokerd.namespaces.engines import Engines
from nsbrokerd.policy.engine_names import EngineName
from support import namespaces
from support.engines.docker import Docker
from support.engines.place import BUSYBOX, PATIENCE_S, Place, engine_place
from support.engines.podman import Podman
from turns import Row, Skipped, at_most, by_turns, compare

MORE_MS = 1.0
"""The goal: a request for a container costs this much more than the engine's own answer."""

_QUESTIONS = 20
"""Of one figure, which is their median."""

_REQUEST = b"GET /containers/web/json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def measure(quick: bool) -> Iterator[Row]:
    """A container in a network of its own, for each engine."""
    if reason := namespaces.why_not():
        raise Skipped(reason)
    for command in (BUSYBOX, "podman", "dockerd", "containerd", "runc"):
        if shutil.which(command) is None:
            raise Skipped(f"there is no {command}")
    with engine_place() as place:
        for engine in (Podman(place), Docker(place)):
            with engine.running():
                engine.start("web")
                yield from _measure_engine(engine, place, 3 if quick else 25)


def _measure_engine(engine: Podman | Docker, place: Place, rounds: int) -> Iterator[Row]:
    engines = Engines({engine.engine: engine.socket}, place.home, PATIENCE_S)
    figures = by_turns(
        rounds,
        ours=lambda: trio.run(_find, engines, EngineName(engine.engine, "web")),
        engine=lambda: _ask(engine.socket),
    )
    more = [ours - theirs for ours, theirs in zip(figures["ours"], figures["engine"], strict=True)]
    beside = "the engine's own answer"
    yield compare(f"find {engine.engine}:web", "ms", figures, "engine", beside=beside, scale=1e3)
    goal = at_most(MORE_MS, "ours")
    title = "... more than the engine's own answer"
    yield compare(title, "ms", {**figures, "more": more}, "engine", goal, ours="more", beside=beside, scale=1e3)


async def _find(engines: Engines, name: EngineName) -> float:
    seconds = []
    for _ in range(_QUESTIONS):
        start = time.perf_counter()
        found = await engines.find(name)
        seconds.append(time.perf_counter() - start)
        os.close(found.fd)
    return statistics.median(seconds)


def _ask(path: Path) -> float:
    seconds = []
    for _ in range(_QUESTIONS):
        start = time.perf_counter()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            sock.sendall(_REQUEST)
            # The end of an answer in chunks. The engine closes the connection a bit later.
            last = b""
            while not last.endswith(b"\r\n0\r\n\r\n") and (part := sock.recv(2**16)):
                last = (last + part)[-7:]
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


if __name__ == "__main__":
    from turns import main

    main(measure)
