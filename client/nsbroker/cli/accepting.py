"""`listen --accept`: one CMD for each connection, a bounded number of them at once, as tcpserver(1) does it."""

from __future__ import annotations

import os
import select
import signal
import socket

from ..place.listening import DEFAULT_BACKLOG
from . import handover
from .failure import INTERRUPTED, FailureError, say
from .launch import run_program
from .signals import TakenSignals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    Become = Callable[[socket.socket, str], NoReturn]
    """Makes the calling process the program for a connection that came to the listener of this name."""

_ENDING = (signal.SIGTERM, signal.SIGINT)
_QUEUED_AT_MOST = DEFAULT_BACKLOG + 1
"""The kernel lets one more wait than listen(2) says."""
_TRY_AGAIN_MS = 1000
"""After an error of the system's: too many processes or files, no memory."""


def serve(listeners: list[tuple[socket.socket, str]], most: int, program: list[str], *, inetd: bool) -> int:
    """Run the program for each connection, as its standard input and output or as from systemd; returns the status."""

    def become(connection: socket.socket, name: str) -> NoReturn:
        handover.name_peer(connection)
        if inetd:
            run_program(program, [connection.fileno()] * 2, [0, 1])
        run_program(program, [connection.fileno()], handover.as_systemd([name]))

    return ConnectionServer(listeners, most, become).serve()


class ConnectionServer:
    """Starts a child for each connection, until SIGTERM or SIGINT; then those that came already are served.

    A second signal is passed on to the children. Connections past `most` wait in the listeners' queues.

    Args:
        listeners: each with its name.
        most: how many children may run at once.
        become: what a child does.
    """

    def __init__(self, listeners: list[tuple[socket.socket, str]], most: int, become: Become) -> None:
        self._listeners = listeners
        self._most = most
        self._become = become
        self._accepted: list[tuple[socket.socket, str]] = []
        self._running: set[int] = set()
        self._failing = False
        self._ended_by = 0
        self._signals = TakenSignals(_ENDING)

    def serve(self) -> int:
        """Serve until nothing is left to do; returns the exit status."""
        for listener, _ in self._listeners:
            listener.setblocking(False)
        while self._listeners or self._accepted or self._running:
            ready = self._wait()
            # Before the children are looked at: what ends after that must wake us again.
            numbers = self._signals.take()
            self._reap()
            for number in numbers:
                if number in _ENDING:
                    self._end(number)
            self._accept(ready)
            self._start_children()
        return INTERRUPTED if self._ended_by == signal.SIGINT else 0

    def _wait(self) -> set[int]:
        poll = select.poll()
        poll.register(self._signals.reader, select.POLLIN)
        if self._has_room() and not self._failing:
            for listener, _ in self._listeners:
                poll.register(listener, select.POLLIN)
        return {fd for fd, _ in poll.poll(_TRY_AGAIN_MS if self._failing else None)}

    def _has_room(self) -> bool:
        return len(self._running) + len(self._accepted) < self._most

    def _reap(self) -> None:
        try:
            while pid := os.waitpid(-1, os.WNOHANG)[0]:
                self._running.discard(pid)
        except ChildProcessError:
            return  # None is left.

    def _end(self, number: int) -> None:
        self._ended_by = self._ended_by or number
        if self._listeners:
            self._close_listeners()
            return
        for connection, _ in self._accepted:
            connection.close()
        self._accepted.clear()
        for pid in self._running:
            try:
                os.kill(pid, number)
            except PermissionError:
                continue  # It has become another user, and outlives us.

    def _close_listeners(self) -> None:
        # What waits in a queue is connected as far as its other end knows; with the listener it would be reset.
        for listener, name in self._listeners:
            for _ in range(_QUEUED_AT_MOST):
                self._take_one(listener, name)
            listener.close()
        self._listeners = []

    def _accept(self, ready: set[int]) -> None:
        self._failing = False
        for place in [place for place in self._listeners if place[0].fileno() in ready]:
            if self._has_room() and self._take_one(*place):
                # The others come first the next time: with room for one, a busy listener would else starve them.
                self._listeners.remove(place)
                self._listeners.append(place)

    def _take_one(self, listener: socket.socket, name: str) -> bool:
        try:
            self._accepted.append((listener.accept()[0], name))
        except (BlockingIOError, ConnectionError):
            return False  # It was given up while it waited.
        except OSError as error:
            self._complain(f"can't accept a connection: {error.strerror}")
            return False
        return True

    def _start_children(self) -> None:
        while self._accepted and len(self._running) < self._most:
            connection, name = self._accepted[0]
            try:
                pid = self._signals.fork()
            except OSError as error:
                self._complain(f"can't start a process for a connection: {error.strerror}")
                return
            if pid == 0:
                self._be_child(connection, name)
            self._running.add(pid)
            self._accepted.pop(0)
            connection.close()

    def _be_child(self, connection: socket.socket, name: str) -> NoReturn:
        status = 1
        try:
            self._become(connection, name)
        except FailureError as failure:
            say(str(failure))
            status = failure.status
        except OSError as error:
            say(f"can't run a command for a connection: {error.strerror}")
        finally:
            # Not sys.exit: this is no return to where the parent was.
            os._exit(status)

    def _complain(self, text: str) -> None:
        if not self._failing:
            say(f"{text}; trying again (is a limit reached: ulimit -u, ulimit -n?)")
        self._failing = True
