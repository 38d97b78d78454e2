"""The idle connections of one client, and what a fork does to them.

A call takes a connection out and gives it back, so no two calls ever share one: not two threads, not a signal handler
and what it interrupts, not a parent and its child. There are at most as many as calls at the same time.
"""

from __future__ import annotations

import atexit
import os

from .connection import Connection, open_connections

MAX_IDLE = 16
"""Connections that are kept for later; the broker counts them against the user."""


class Pool:
    """Connections to one broker that no call uses at the moment, the last used first."""

    __slots__ = ("_idle",)

    def __init__(self) -> None:
        # list.append and list.pop are atomic: no lock that a fork could leave taken.
        self._idle: list[Connection] = []

    def take(self) -> Connection | None:
        """Take a connection out; None when there is none. It may be dead: sending will tell."""
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if connection.is_usable():
                return connection
            connection.close()
        return None

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for later, or close it if a late reply could be mistaken for a later one."""
        if not connection.unanswered and len(self._idle) < MAX_IDLE:
            self._idle.append(connection)
        else:
            connection.close()

    def clear(self) -> None:
        """Close what is idle."""
        while self._idle:
            try:
                self._idle.pop().close()
            except IndexError:
                return


def _close_all() -> None:
    for connection in list(open_connections):
        connection.close()


os.register_at_fork(after_in_child=_close_all)
atexit.register(_close_all)
