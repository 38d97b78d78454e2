"""The numbers that all processes of the soak share, and the life of a client: it works, pauses and ends as told."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from support.waiting import Counters, wait_until

RUNS, PAUSES, ENDS = 0, 1, 2
"""The orders for the clients."""

_ORDER, _TURN, _FIRST = 0, 1, 2
_LOOK_AGAIN_S = 0.01
_AFTER_A_FAULT_S = 0.2
"""A client whose calls fail must not fill the memory with reports."""

MOST_TEXTS = 1000


class Tally(NamedTuple):
    """The observations of a client. `wrong` has wrong sockets and refusals, and `lost` has calls that failed."""

    counts: dict[str, int]
    wrong: list[str]
    lost: list[str]

    def count(self, what: str, by: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + by


class Told:
    """Orders for the clients, the turn of the policy, and whether each client has paused.

    Each client has files in the directory, for observations that would fill its memory.
    """

    def __init__(self, clients: int, directory: Path) -> None:
        self._clients = clients
        self._numbers = Counters(_FIRST + 2 * clients)
        self.directory = directory

    def order(self) -> int:
        """Return what all clients should do now."""
        return self._numbers[_ORDER]

    def have_all_pause(self, limit_s: float) -> None:
        """Let all clients rest, and wait until they do."""
        for number in range(self._clients):
            self._numbers[_FIRST + number] = 0
        self._numbers[_ORDER] = PAUSES
        wait_until(lambda: all(self._numbers[_FIRST + number] for number in range(self._clients)), limit_s)

    def go_on(self) -> None:
        """Let all clients work."""
        self._numbers[_ORDER] = RUNS

    def end(self) -> None:
        """Let all clients end."""
        self._numbers[_ORDER] = ENDS

    def has_paused(self, number: int, faults: int) -> None:
        """Record that a client rests, and how many faults it has seen so far."""
        self._numbers[_FIRST + self._clients + number] = faults
        self._numbers[_FIRST + number] = 1

    def faults(self) -> int:
        """Return the number of faults that all clients had seen when they paused last."""
        return sum(self._numbers[_FIRST + self._clients + number] for number in range(self._clients))

    @property
    def turn(self) -> int:
        """The turn of the policy: an even number while one policy holds, an odd one while it changes."""
        return self._numbers[_TURN]

    def next_turn(self) -> None:
        """Say that the policy begins to change, or that it has changed."""
        self._numbers[_TURN] += 1


def policy_of(before: int, after: int, policies: int) -> int | None:
    """Return the index of the policy that held all the time, by the turns before and after a call.

    `None` means that the policy changed meanwhile, so any of them may have decided.
    """
    return before // 2 % policies if before == after and before % 2 == 0 else None


def live(
    told: Told, number: int, tally: Tally, act: Callable[[], None], rest: Callable[[], None], pause_s: float
) -> Tally:
    """Act again and again until told to end. `rest` drops everything that would grow."""
    is_resting = False
    while (order := told.order()) != ENDS:
        if order == PAUSES:
            if not is_resting:
                rest()
                told.has_paused(number, len(tally.wrong) + len(tally.lost))
            is_resting = True
            time.sleep(_LOOK_AGAIN_S)
            continue
        is_resting = False
        try:
            act()
        except Exception as error:
            if len(tally.lost) < MOST_TEXTS:
                tally.lost.append(f"client {number}: {error!r}")
            time.sleep(_AFTER_A_FAULT_S)
        tally.count("calls")
        time.sleep(pause_s)
    rest()
    return tally
