"""The state of the broker in one line, for its service manager: the policy in force, and every fault."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import structlog

from .line_quota import ABOUT_NO_CLIENT

log = structlog.get_logger(**{ABOUT_NO_CLIENT: True})

_MAX_FAULT_CHARACTERS = 300


class Reload(NamedTuple):
    """The outcome of a reload: its time, and the reason why it failed, or None."""

    time: str
    problem: str | None


class State:
    """The policy in force, and the faults that an administrator has to repair.

    Attributes:
        grants: the number of grants in force.
        since: the time since when they are in force.
        faults: by its place, such as "audit", what is wrong there.
        last_reload: the outcome of the last reload, or None if there was none.
    """

    def __init__(self, show: Callable[[str], None], clock: Callable[[], float] = time.time) -> None:
        """Show a line whenever it changes.

        Args:
            show: gets the line.
            clock: returns the time, in seconds since the epoch.
        """
        self._show = show
        self._clock = clock
        self.grants = 0
        self.since = ""
        self.faults: dict[str, str] = {}
        self.last_reload: Reload | None = None

    def serve(self, grants: int) -> None:
        """Begin to serve a policy with this number of grants."""
        self.grants = grants
        self.since = utc(self._clock())
        self._show(str(self))

    def reloaded(self, problem: str | None) -> None:
        """Note the outcome of a reload: the reason why it failed, or None."""
        self.last_reload = Reload(utc(self._clock()), problem)

    def note(self, place: str, fault: str | None) -> None:
        """Note the fault at a place, or None if the place is sound. A fault that begins or ends goes to the log."""
        former = self.faults.pop(place, None)
        if fault is not None:
            self.faults[place] = fault
        if fault == former:
            return
        if fault is None:
            log.info("repaired", place=place)
        else:
            log.error("fault", place=place, reason=fault)
        self._show(str(self))

    def __str__(self) -> str:
        line = f"serving (grants: {self.grants}, in force since {self.since})"
        faults = (f"; {place}: {fault[:_MAX_FAULT_CHARACTERS]}" for place, fault in self.faults.items())
        return line + "".join(faults)


def utc(seconds: float) -> str:
    """Return a time as text. It is in seconds since the epoch."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
