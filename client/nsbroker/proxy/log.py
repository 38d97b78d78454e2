"""The lines of the proxy: clear, bounded in number, and never a reason to wait."""

from __future__ import annotations

import select
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_SAME_LINE_S = 60.0
_PERIOD_S = 10.0
_LINES_IN_PERIOD = 20
_LONGEST_LINE = 1000
_STDERR = 2


class Log:
    """Says lines, each at most once a minute, and at most 20 in 10 seconds. Then one line says that lines are left out.

    Args:
        say: writes a line.
        clock: returns seconds.
    """

    def __init__(self, say: Callable[[str], object], clock: Callable[[], float] = monotonic) -> None:
        self._say, self._clock = say, clock
        self._said: dict[str, float] = {}
        self._period_end = 0.0
        self._count = 0

    def __call__(self, text: str) -> None:
        """Say a line, unless it was said just now, or there are too many."""
        now = self._clock()
        text = text[:_LONGEST_LINE]
        if now >= self._period_end:
            self._period_end, self._count = now + _PERIOD_S, 0
            self._said = {line: end for line, end in self._said.items() if end > now}
        if text in self._said:
            return
        self._count += 1
        if self._count > _LINES_IN_PERIOD:
            if self._count == _LINES_IN_PERIOD + 1:
                self._say(f"more than {_LINES_IN_PERIOD} lines in {_PERIOD_S:g} s: leaving out the others")
            return
        self._said[text] = now + _SAME_LINE_S
        self._say(text)


def can_be_written(fd: int = _STDERR) -> bool:
    """Return whether a line can be written without waiting for the reader of a pipe."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(0))
