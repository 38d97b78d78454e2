"""`listen --accept`: runs one command for each connection, a bounded number of them at once, as tcpserver(1) does."""

from __future__ import annotations

import os
import select
import signal
import socket

from ..place.listening import DEFAULT_BACKLOG
from ..wire.record import Record
from . import launch
from .messages import INTERRUPTED, FailureError, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    Become = Callable[[socket.socket, str], NoReturn]
    """Turns the calling process into the program for a connection to the listener of this name."""

_ENDING = (signal.SIGTERM, signal.SIGINT)
_QUEUED_AT_MOST = DEFAULT_BACKLOG + 1
"""The kernel queues one connection more than listen(2) says."""
_TRY_AGAIN_MS = 1000
"""Pause after an error of the system: too many processes or files, or no memory."""
_READ_BYTES = 4096


class Named(Record):
    """A listener with its name, or a connection with the name of its listener."""

    sock: socket.socket
    name: str


def serve(listeners: list[tuple[socket.socket, str]], most: int, program: list[str], *, inetd: bool) -> int:
    """Run the program for each connection, and return the exit status.

    Args:
        listeners: each listener with its name.
        most: how many programs may run at once.
        program: the command.
        inetd: pass the connection as standard input and output, not as systemd does.
    """

    def become(connection: socket.socket, name: str) -> NoReturn:
        launch.name_peer(connection)
        if inetd:
            launch.run_program(program, [connection.fileno()] * 2, [0, 1])
        launch.run_program(program, [connection.fileno()], launch.as_systemd([name]))

    return ConnectionServer([Named(*listener) for listener in listeners], most, become).serve()


class ConnectionServer:
    """Starts a child for each connection until SIGTERM or SIGINT, then serves the connections that arrived before.

    A second signal is passed on to the children. Connections past `most` wait in the queues of the listeners.

    Args:
        listeners: the listeners.
        most: how many children may run at once.
        become: turns a child into its program.
    """

    def __init__(self, listeners: list[Named], most: int, become: Become) -> None:
        self._listeners = listeners
        self._most = most
        self._become = become
        self._accepted: list[Named] = []
        self._running: set[int] = set()
        self._failing = False
        self._ended_by = 0
        self._signals = TakenSignals(_ENDING)

    def serve(self) -> int:
        """Serve until all listeners are closed and all children have ended, and return the exit status."""
        for listener in self._listeners:
            listener.sock.setblocking(False)
        while self._listeners or self._accepted or self._running:
            ready = self._wait()
            # Before reaping: a child that ends after this line must wake the next poll.
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
            for listener in self._listeners:
                poll.register(listener.sock, select.POLLIN)
        return {fd for fd, _ in poll.poll(_TRY_AGAIN_MS if self._failing else None)}

    def _has_room(self) -> bool:
        return len(self._running) + len(self._accepted) < self._most

    def _reap(self) -> None:
        try:
            while pid := os.waitpid(-1, os.WNOHANG)[0]:
                self._running.discard(pid)
        except ChildProcessError:
            return  # No child is left.

    def _end(self, number: int) -> None:
        self._ended_by = self._ended_by or number
        if self._listeners:
            self._close_listeners()
            return
        for connection in self._accepted:
            connection.sock.close()
        self._accepted.clear()
        for pid in self._running:
            try:
                os.kill(pid, number)
            except PermissionError:
                continue  # The child has become another user, and outlives this process.

    def _close_listeners(self) -> None:
        # The peers of queued connections count as connected. Closing a listener would reset them, so accept them first.
        for listener in self._listeners:
            for _ in range(_QUEUED_AT_MOST):
                self._take_one(listener)
            listener.sock.close()
        self._listeners = []

    def _accept(self, ready: set[int]) -> None:
        self._failing = False
        for listener in [listener for listener in self._listeners if listener.sock.fileno() in ready]:
            if self._has_room() and self._take_one(listener):
                # The other listeners come first next time. Else, with room for one, a busy listener would starve them.
                self._listeners.remove(listener)
                self._listeners.append(listener)

    def _take_one(self, listener: Named) -> bool:
        try:
            self._accepted.append(Named(listener.sock.accept()[0], listener.name))
        except (BlockingIOError, ConnectionError):
            return False  # The peer gave up while it waited.
        except OSError as error:
            self._complain(f"can't accept a connection: {error.strerror}")
            return False
        return True

    def _start_children(self) -> None:
        while self._accepted and len(self._running) < self._most:
            connection = self._accepted[0]
            try:
                pid = self._signals.fork()
            except OSError as error:
                self._complain(f"can't start a process for a connection: {error.strerror}")
                return
            if pid == 0:
                self._be_child(connection)
            self._running.add(pid)
            self._accepted.pop(0)
            connection.sock.close()

    def _be_child(self, connection: Named) -> NoReturn:
        status = 1
        try:
            self._become(connection.sock, connection.name)
        except FailureError as failure:
            say(str(failure))
            status = failure.status
        except OSError as error:
            say(f"can't run a command for a connection: {error.strerror}")
        finally:
            # Not sys.exit: the child must not run the parent's clean-up.
            os._exit(status)

    def _complain(self, text: str) -> None:
        if not self._failing:
            say(f"{text}; trying again (is a limit reached: ulimit -u, ulimit -n?)")
        self._failing = True


class TakenSignals:
    """Turns these signals and SIGCHLD into bytes in a pipe, for a loop that waits in poll(2).

    A signal that was ignored before stays ignored. SIGPIPE is ignored from now on, since the loop must survive the end
    of the reader of its standard error.

    Attributes:
        reader: the descriptor to wait for.
    """

    def __init__(self, numbers: tuple[int, ...]) -> None:
        self.reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self._numbers = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
        self._numbers.append(signal.SIGCHLD)
        for number in self._numbers:
            signal.signal(number, _leave_it_to_the_pipe)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        # The process that started us may have blocked it.
        self._mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])

    def take(self) -> list[int]:
        """Return the numbers of the signals that came since the last call."""
        try:
            return list(os.read(self.reader, _READ_BYTES))
        except BlockingIOError:
            return []

    def fork(self) -> int:
        """Fork. The child has the handlers and the mask from before this object.

        Raises:
            OSError: as fork(2).
        """
        # Blocked, since a signal that reaches the child before its handlers are back would be written to our pipe.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, self._numbers)
        try:
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                for number in (*self._numbers, signal.SIGPIPE):
                    signal.signal(number, signal.SIG_DFL)
                before = self._mask
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return pid


def _leave_it_to_the_pipe(*_: object) -> None:
    """Do nothing. Python writes to the pipe only for signals that have a handler in Python."""
