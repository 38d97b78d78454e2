"""Happy eyeballs: several attempts at once, each begun a little after the one before; the first success counts.

Pure: it does no input or output, it only multiplexes the waits of steps. Source: RFC 8305.
"""

from __future__ import annotations

from math import inf
from time import monotonic

from ..link.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeVar

    from ..link.waiting import Sockets, Steps

    T = TypeVar("T")


def race(attempts: Iterable[Steps[T]], stagger_s: float | None, clock: Callable[[], float] = monotonic) -> Steps[T]:
    """Give the result of the first attempt that succeeds; all others are closed, and close what they have open.

    Args:
        attempts: in order. The next one begins when the last one failed, or `stagger_s` after it began.
        stagger_s: seconds; None to wait for the failure.
        clock: gives seconds, in the time of the deadlines of waits.

    Raises:
        ExceptionGroup: of the OSErrors, when all failed.
        Error: the broker's own refusals end the race: they would be the same for each.
    """
    waiting = list(attempts)[::-1]
    running: dict[Steps[T], tuple[float, Sockets]] = {}
    failures: list[OSError] = []
    next_start = clock()

    def advance(steps: Steps[T], ready: Sockets | None) -> list[T]:
        """Go on with an attempt, or begin it; give its result in a list when it has one."""
        nonlocal next_start
        running.pop(steps, None)
        try:
            running[steps] = next(steps) if ready is None else steps.send(ready)
        except StopIteration as end:
            return [end.value]
        except Error:
            raise
        except OSError as error:
            failures.append(error)
            next_start = clock()
        return []

    try:
        while waiting or running:
            if waiting and clock() >= next_start:
                next_start = inf if stagger_s is None else clock() + stagger_s
                if result := advance(waiting.pop(), None):
                    return result[0]
                continue
            deadline = min([end for end, _ in running.values()] + [next_start] * bool(waiting))
            ready = yield deadline, tuple(pair for _, sockets in running.values() for pair in sockets)
            for steps, (end, sockets) in list(running.items()):
                mine = tuple(pair for pair in sockets if pair in ready)
                if (mine or end <= clock()) and (result := advance(steps, mine)):
                    return result[0]
        raise ExceptionGroup("every attempt failed", failures)
    finally:
        for steps in (*waiting, *running):
            steps.close()
        failures.clear()  # A traceback that holds its own exception would be a cycle.
