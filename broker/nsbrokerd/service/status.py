"""What the control socket tells and does: the status of the broker, a reload, and the unlimited sockets."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ..clients.persons import Persons
from ..config import Problem
from ..control.packets import ERROR, Fields
from ..requests.dispatch import Dispatcher
from ..requests.operation import InForce
from ..requests.tally import Table
from ..serving.tasks import Tasks
from .state import State, utc
from .version import version

_MOST_SHOWN = 64
"""Characters of a name. The tables must fit a packet."""

_MOST_FAULT_SHOWN = 300

_MOST_PROBLEMS = 20


class Control:
    """One broker, as the control socket shows and changes it."""

    def __init__(
        self,
        config_path: Path,
        state: State,
        parts: tuple[Persons, Dispatcher, Tasks, InForce],
        reload: Callable[[], Sequence[Problem]],
        walls: Callable[[], str | None],
    ) -> None:
        """Show a broker.

        Args:
            config_path: the main file of its configuration.
            state: its policy and its faults.
            parts: those that count.
            reload: loads the configuration again, and returns all problems because of which it could not.
            walls: describes which walls hold the limits, or returns None if there are no limits.
        """
        self._config_path = config_path
        self._state = state
        self._persons, self._dispatcher, self._tasks, self._in_force = parts
        self._reload = reload
        self._walls = walls
        self._version = version()
        self._started = time.time()
        self._started_s = time.monotonic()

    def status(self, *, is_short: bool) -> Fields:
        """Return the status, without its tables if it has to be short."""
        state, tally = self._state, self._dispatcher.tally
        tally.count()
        reload = state.last_reload
        return {
            "version": self._version,
            "pid": os.getpid(),
            "started": utc(self._started),
            "uptime_s": int(time.monotonic() - self._started_s),
            "policy": {"file": str(self._config_path), "grants": state.grants, "since": state.since},
            "reload": None if reload is None else {"time": reload.time, "problem": reload.problem},
            "walls": self._walls(),
            "faults": state.faults,
            "engines": self._engines(),
            "clients": self._persons.clients,
            "persons": self._persons.connected,
            "requests": {"answered": tally.answered, "refused": tally.refused},
            "sockets": [] if is_short else _rows(tally.sockets, ("uid", "grant", "namespace")),
            "refusals": [] if is_short else _rows(tally.refusals, ("uid", "reason", "grant")),
            "is_short": is_short,
            "quotas": self._quotas(),
        }

    def _engines(self) -> list[Fields]:
        """Return the numbers of each engine that is switched on, and why its last question got no answer."""
        finder = self._in_force.finder
        states = {} if finder is None else finder.states
        return [
            {"engine": engine, "asked": one.asked, "failed": one.failed, "fault": _cut(one.fault, _MOST_FAULT_SHOWN)}
            for engine, one in states.items()
        ]

    def _quotas(self) -> list[Fields]:
        """Return how much of each quota is in use. Of a quota of each user, this shows the user who uses the most."""
        quotas, now = self._persons.quotas, time.monotonic()
        rate = quotas.requests_per_second
        clients, by_clients = self._persons.largest(lambda person: person.clients)
        requests, by_requests = self._persons.largest(lambda person: person.used_requests(now, rate))
        used: dict[str, tuple[int, int]] = {
            "clients": (self._persons.clients, quotas.clients),
            **self._dispatcher.answers.usage(),
            **self._tasks.usage(),
        }
        return [
            {"quota": "clients_per_user", "used": clients, "most": quotas.clients_per_user, "uid": by_clients},
            {"quota": "requests_per_second", "used": requests, "most": rate, "uid": by_requests},
            *({"quota": name, "used": part, "most": most, "uid": None} for name, (part, most) in used.items()),
        ]

    def reload(self) -> Fields:
        """Load the configuration again, and return the outcome."""
        problems = [str(problem)[:1000] for problem in self._reload()]
        if problems:
            more = [f"... and {len(problems) - _MOST_PROBLEMS} more"] if len(problems) > _MOST_PROBLEMS else []
            return {ERROR: "\n".join([*problems[:_MOST_PROBLEMS], *more])}
        return {"grants": self._state.grants, "since": self._state.since}

    def sockets(self, after: int) -> Fields:
        """Return some of the unlimited sockets that were handed out, after the one with this number."""
        tally = self._dispatcher.tally
        tally.count()
        handed_out = tally.handed_out
        entries, last = handed_out.page(after)
        return {
            "sockets": entries,
            "last": last,
            "forgotten": handed_out.forgotten,
            "started": utc(self._started),
        }


def _rows(table: Table, names: tuple[str, str, str]) -> list[Fields]:
    """Return the rows, the largest number first. Names that are cut stay apart: a row has one of its own."""
    rows = sorted(table.rows.items(), key=lambda row: -row[1])
    return [{**dict(zip(names, map(_cut, row), strict=True)), "count": number} for row, number in rows]


def _cut(value: int | str | None, most: int = _MOST_SHOWN) -> int | str | None:
    return f"{value[:most]}..." if isinstance(value, str) and len(value) > most else value
