"""Measures one attack: the victim when it is quiet, beside processes that only spin, and under attack, by turns.

The processes that spin are the reference: as many as the attack has. They take the processors as the attack does, and
leave the broker alone. Several versions of the broker take turns, too.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from support.users import GROUP, Child, start_as_user

from .arena import VICTIM, Arena, arena
from .attack import ATTACKER, Attack, Orders
from .looks import Look, Peaks, look, look_at_idle, size_of_records, watching, written
from .victim import Samples, Victim, ask_for

READY_S = 120
"""The most that an attack needs to get ready, since the broker makes tens of thousands of sockets for it. A single
request of the victim takes no longer."""

END_S = 60
BACK_S = 60
"""The most that the broker needs to be as before."""

LASTING = 2
"""Descriptors, and threads, that the broker makes when it first needs them, and keeps. An example is a thread that
closes. Each attack has so many steps that a leak would be larger."""

NOTHING = Look(0, 0, 0)

QUIET, SPIN, ATTACK = PHASES = ("quiet", "spin", "attack")


class Version(NamedTuple):
    """A broker to attack. Without a checkout, it is the installed one."""

    name: str
    checkout: Path | None


@dataclass(slots=True)
class Outcome:
    """The results of one version under one attack.

    Attributes:
        samples: for each phase the victim's experience, one for each round.
        before: the broker before the first attack.
        peak: the most of it during the attacks.
        after: the broker once it was as before, or `BACK_S` after the last attack.
        back_s: the seconds that it took, or None if the broker was not as before in time.
        attacked_s: the seconds of all attacks together, while the victim asked.
        steps_meanwhile: the attackers' steps in this time.
        steps: all of their steps.
        written_bytes: the bytes of log and audit, without the audit of the victim.
    """

    attack: Attack
    version: str
    samples: dict[str, list[Samples]] = field(default_factory=lambda: {phase: [] for phase in PHASES})
    before: Look = NOTHING
    peak: Look = NOTHING
    after: Look = NOTHING
    back_s: float | None = None
    attacked_s: float = 0
    steps_meanwhile: int = 0
    steps: int = 0
    written_bytes: int = 0


def measure(attack: Attack, versions: Sequence[Version], seconds: float, rounds: int) -> list[Outcome]:
    """Attack each version in each round, and return their outcomes."""
    outcomes = [Outcome(attack, version.name) for version in versions]
    with ExitStack() as stack:
        trials = []
        for version, outcome in zip(versions, outcomes, strict=True):
            place = stack.enter_context(arena(attack, version.checkout, label=version.name))
            trials.append(_Trial(place, attack, outcome, seconds))
        for number in range(rounds):
            for trial in trials[:: -1 if number % 2 else 1]:
                trial.take_turn()
        for trial in trials:
            trial.finish()
    return outcomes


class _Trial:
    def __init__(self, place: Arena, attack: Attack, outcome: Outcome, seconds: float) -> None:
        self._place, self._attack, self._outcome, self._seconds = place, attack, outcome, seconds
        self._peaks = Peaks()
        self._limit_s = seconds + READY_S
        with self._victim() as victim:  # fills the caches of the broker
            victim.ask(self._limit_s)
        outcome.before = look_at_idle(place.broker)

    def take_turn(self) -> None:
        """Measure all phases once."""
        attack, outcome, broker = self._attack, self._outcome, self._place.broker
        with self._victim() as victim:
            outcome.samples[QUIET].append(victim.ask(self._limit_s))
        with self._victim() as victim, spinning(attack.processes, self._seconds):
            outcome.samples[SPIN].append(victim.ask(self._limit_s))
        files = written(broker)
        with (
            self._victim() as victim,
            attacking(attack, self._place, self._seconds) as orders,
            watching(broker, self._peaks, orders),
        ):
            start, steps = time.monotonic(), orders.steps
            outcome.samples[ATTACK].append(victim.ask(self._limit_s))
            outcome.attacked_s += time.monotonic() - start
            outcome.steps_meanwhile += orders.steps - steps
            outcome.steps += orders.steps
        outcome.written_bytes += size_of_records(broker, files, but_of=VICTIM)
        outcome.peak = self._peaks.most

    def finish(self) -> None:
        """Wait until the broker is as before."""
        start = time.monotonic()
        if settled(self._place, self._outcome.before, BACK_S):
            self._outcome.back_s = time.monotonic() - start
        self._outcome.after = look(self._place.broker)

    def _victim(self) -> Victim:
        place = self._place
        return Victim(VICTIM, ask_for, place.target.path, place.namespace, self._seconds)


def settled(place: Arena, before: Look, limit_s: float) -> bool:
    """Wait until the broker has no more descriptors and threads than before, and return whether this came true."""
    end = time.monotonic() + limit_s
    while True:
        now = look(place.broker)
        if now.descriptors <= before.descriptors + LASTING and now.threads <= before.threads + LASTING:
            return True
        if time.monotonic() >= end:
            return False
        time.sleep(0.05)


@contextmanager
def spinning(processes: int, seconds: float) -> Iterator[None]:
    """Run processes that only spin."""
    orders = Orders(processes, READY_S + seconds)
    with _running(orders, processes, ATTACKER, _spin, orders):
        yield


def _spin(_: int, orders: Orders) -> None:
    while orders.goes_on():
        pass


@contextmanager
def attacking(attack: Attack, place: Arena, seconds: float) -> Iterator[Orders]:
    """Run an attack, once all of its processes are ready, until the context ends."""
    orders = Orders(attack.processes, READY_S + END_S + seconds)
    with _running(orders, attack.processes, attack.uid, _attack, attack, place.target, orders):
        orders.wait_for_all(READY_S)
        yield orders


def _attack(number: int, attack: Attack, target: Any, orders: Orders) -> None:
    attack.program(target, number, orders)


@contextmanager
def _running(
    orders: Orders, processes: int, uid: int, function: Callable[..., None], *args: Any
) -> Iterator[list[Child]]:
    gid = GROUP if uid else 0
    children = [start_as_user(uid, gid, function, number, *args) for number in range(processes)]
    try:
        yield children
    except BaseException:
        for child in children:
            child.kill()
        raise
    orders.stop()
    for child in children:
        with suppress(TimeoutError):  # then it is killed: the broker may keep its request
            child.result(END_S)


def median_ms(samples: Sequence[Sequence[float]]) -> float:
    """Return the median of the rounds' medians, in milliseconds."""
    medians = [statistics.median(one) for one in samples if one]
    return 1e3 * statistics.median(medians) if medians else float("inf")


def percentile_ms(samples: Sequence[Sequence[float]], percent: int = 99) -> float:
    """Return a percentile of the samples of all rounds, in milliseconds."""
    everything = sorted(seconds for one in samples for seconds in one)
    return 1e3 * everything[len(everything) * percent // 100] if everything else float("inf")


def ratio(samples: Sequence[Sequence[float]], reference: Sequence[Sequence[float]]) -> float:
    """Return the median of the rounds' ratios of medians."""
    ratios = [
        statistics.median(mine) / statistics.median(other) if mine else float("inf")
        for mine, other in zip(samples, reference, strict=True)
        if other
    ]
    return statistics.median(ratios) if ratios else float("inf")
