"""The form of an attack: a few processes, each of which calls one function until it is told to stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

from support.users import UIDS
from support.waiting import Counters, wait_until

ATTACKER = UIDS[10]
SUBORDINATES = UIDS[100:900]
"""The uids of one person, if the attack has the broker read this from its /etc/subuid. Otherwise of many persons."""


class Target(NamedTuple):
    """The broker under attack, as its attackers see it.

    Attributes:
        path: of its socket.
        namespace: the attackers have a grant for it, and for each name that begins with it.
        is_brief: the attack must be small, since its effect is not measured.
        python_path: the value of PYTHONPATH with which Python finds the version under attack, or an empty text.
    """

    path: str
    namespace: str
    is_brief: bool
    python_path: str = ""


class Orders:
    """Numbers that the processes of an attack share with the harness."""

    def __init__(self, processes: int, limit_s: float) -> None:
        self._processes = processes
        self._end = time.monotonic() + limit_s
        self._numbers = Counters(1 + 3 * processes)

    def stop(self) -> None:
        """End all processes, at their next look."""
        self._numbers[0] = 1

    def goes_on(self) -> bool:
        """Whether the attack goes on. Each process looks at this often: the harness may have been killed."""
        return not self._numbers[0] and time.monotonic() < self._end

    def is_ready(self, number: int) -> None:
        """Record that this process has everything that its attack needs."""
        self._numbers[1 + number] = 1

    def wait_for_all(self, limit_s: float) -> None:
        """Wait until all processes are ready."""
        wait_until(lambda: all(self._numbers[1 + number] for number in range(self._processes)), limit_s)

    def wait_for_others(self, number: int) -> None:
        """Wait until all other processes are ready, or until the attack ends."""
        others = [1 + other for other in range(self._processes) if other != number]
        while self.goes_on() and not all(self._numbers[other] for other in others):
            time.sleep(0.01)

    def has_done(self, number: int) -> None:
        """Count one more step of this process."""
        self._numbers[1 + self._processes + number] += 1

    def holds(self, number: int, amount: int) -> None:
        """Record how much of the broker this process holds now."""
        self._numbers[1 + 2 * self._processes + number] = amount

    @property
    def steps(self) -> int:
        """The steps of all processes."""
        return sum(self._numbers[1 + self._processes + number] for number in range(self._processes))

    @property
    def held(self) -> int:
        """The amount that all processes together hold."""
        return sum(self._numbers[1 + 2 * self._processes + number] for number in range(self._processes))


Program = Callable[[Target, int, Orders], None]
"""The body of a process, which gets its number among the processes of the attack."""


def _nothing(_: Target) -> AbstractContextManager[None]:
    return nullcontext()


def _no_need() -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack.

    Attributes:
        name: a few words, as in the table.
        about: the docstring of its module.
        program: the body of each process.
        processes: their number. The reference is the same number of processes that only spin.
        step: the thing that one step of the program does, in the plural.
        held: the thing that the program tells the amount of, in the plural, or an empty text.
        most_held: the quota of this thing, or None if there is none.
        most_written_kib: KiB of log and audit in a second that the attack may cause, or None if there is no such bound:
            the audit has everything that is handed out.
        uid: of the processes at their start. A process of root can act for many users.
        are_subordinate: whether SUBORDINATES belong to one user, by the /etc/subuid that the broker sees.
        prepare: makes files that the attack needs, until it ends.
        why_not: returns the reason if this machine lacks something.
    """

    name: str
    about: str
    program: Program
    processes: int
    step: str
    held: str = ""
    most_held: int | None = None
    most_written_kib: int | None = None
    uid: int = ATTACKER
    are_subordinate: bool = False
    prepare: Callable[[Target], AbstractContextManager[None]] = _nothing
    why_not: Callable[[], str | None] = _no_need
