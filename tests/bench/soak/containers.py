"""Containers of a real podman that come and go under their names, and the user who asks for them by name."""

from __future__ import annotations

import errno
import os
import random
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import nsbroker
from nsbroker import SocketSpec
from support.engines.place import BUSYBOX, Place, engine_place
from support.engines.podman import Podman
from support.inside import cookie_here, enter
from support.users import as_user

from .client import TIMEOUT_S
from .judge import KINDS, Judge
from .policy import CONTAINERS
from .sights import Generation
from .told import ENDS, RUNS, Tally, Told, live

COUNT = 3
NAMES = tuple(f"{CONTAINERS}{number}" for number in range(COUNT))
PAUSE_S = 0.05
CHURN_S = 2
WITHOUT_S = 0.3
"""So long a name has no container, now and then."""


def why_not() -> str | None:
    """Return the reason why this machine has no containers, or `None`."""
    commands = ("podman", "runc", "conmon", "nsenter", BUSYBOX)
    missing = [command for command in commands if not shutil.which(command, path="/usr/sbin:/usr/bin:/sbin:/bin")]
    return f"there is no {missing[0]}: tests/run --engines installs it" if missing else None


@contextmanager
def podman_running() -> Iterator[tuple[Place, Podman]]:
    """Run a podman of its own, with containers."""
    with engine_place() as place, Podman(place).running() as podman:
        for name in NAMES:
            podman.start(name)
        yield place, podman


def full_name(name: str) -> str:
    return f"podman:{name}"


def churn(podman: Podman, told: Told) -> dict[str, list[Generation]]:
    """Restart containers, or remove and start them again, until told to end. Return all that lived."""
    living = {name: Generation(_cookie(podman, name), 0.0) for name in NAMES}
    known: dict[str, list[Generation]] = {full_name(name): [] for name in NAMES}
    turn = 0
    while told.order() != ENDS:
        if told.order() == RUNS:
            name, is_restart = NAMES[turn % COUNT], turn // COUNT % 2
            former = living.pop(name)
            former_end, living[name] = _restart(podman, name) if is_restart else _replace(podman, name)
            known[full_name(name)].append(former.until(former_end))
            turn += 1
        _wait(told, CHURN_S)
    for name, generation in living.items():
        known[full_name(name)].append(generation)
    return known


def _restart(podman: Podman, name: str) -> tuple[float, Generation]:
    """Return when the former namespace had the name for the last time at the latest, and the new one."""
    begin = time.monotonic()
    podman("restart", "--time=0", name)
    return time.monotonic(), Generation(_cookie(podman, name), begin)


def _replace(podman: Podman, name: str) -> tuple[float, Generation]:
    podman("rm", "--force", "--time=0", name)
    end = time.monotonic()
    time.sleep(WITHOUT_S)
    begin = time.monotonic()
    podman.start(name)
    return end, Generation(_cookie(podman, name), begin)


def _cookie(podman: Podman, name: str) -> int:
    return int(as_user(0, 0, _cookie_of, podman.inspect(name)["State"]["Pid"]))


def _cookie_of(pid: int) -> int:
    enter(f"/proc/{pid}/ns/net")
    return cookie_here()


def _wait(told: Told, seconds: float) -> None:
    end = time.monotonic() + seconds
    while told.order() != ENDS and time.monotonic() < end:
        time.sleep(0.1)


def run_container_user(
    path: str, uid: int, number: int, stable: Mapping[str, int], names: Sequence[str], told: Told
) -> list[Tally]:
    """Ask for sockets in the containers until told to end."""
    os.environ["PATH"] = ""  # The library also asks this user's own podman, which does not exist.
    user = _ContainerUser(path, uid, number, stable, names, told)
    return [live(told, number, user.judge.tally, user.act, user.rest, PAUSE_S)]


class _ContainerUser:
    def __init__(
        self, path: str, uid: int, number: int, stable: Mapping[str, int], names: Sequence[str], told: Told
    ) -> None:
        self._client = nsbroker.Client(path, timeout=TIMEOUT_S)
        self._chance = random.Random(number)
        self._names = names
        self.judge = Judge(uid, number, stable, told)

    def act(self) -> None:
        spec = SocketSpec(self._chance.choice(self._names), *self._chance.choice(KINDS))
        asked = time.monotonic()
        try:
            sockets = self._client.open([spec] * self._chance.choice((1, 1, 3)))
        except nsbroker.NamespaceNotFoundError as error:
            self.judge.was_not_found(error, spec.namespace)
        except nsbroker.BrokerUnavailableError as error:
            # The engine itself was too slow, for example since it starts a container just then.
            if error.errno != errno.EAGAIN or "podman" not in str(error):
                raise
            self.judge.tally.count("times podman was too slow")
        else:
            had = time.monotonic()
            for sock in sockets:
                with sock:
                    self.judge.look_at(spec, sock, asked, had)
                self.judge.tally.count("sockets in containers")

    def rest(self) -> None:
        self._client.close()
        self.judge.rest()
