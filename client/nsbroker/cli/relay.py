"""Standard input to a socket, and the socket to standard output, each direction ending by itself, as `nc -N` does."""

from __future__ import annotations

import errno
import select
import signal
import socket

from .ends import STDOUT, end_output, receiving_flow, sending_flow
from .failure import REFUSED, FailureError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .flows import Flow

_GONE = frozenset({errno.EPIPE, errno.ECONNRESET})
_ENDED = select.POLLERR | select.POLLHUP


def relay(sock: socket.socket, idle_s: float | None, *, datagrams: bool) -> int:
    """Pass on bytes until both directions are done, or nothing came for `idle_s`; returns the exit status.

    When nobody reads standard output any more, the process ends by SIGPIPE, as if it had written to it.

    Raises:
        FailureError: the connection, standard input or standard output failed.
    """
    # splice(2) knows no MSG_NOSIGNAL: this would end us before the peer's last words are read.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    sock.setblocking(False)
    state = Relay(sock, datagrams=datagrams)
    poll = select.poll()
    polled: dict[int, int] = {}
    while state.sending or state.receiving:
        wanted = state.wanted()
        if wanted != polled:
            for fd in polled.keys() - wanted:
                poll.unregister(fd)
            for fd, events in wanted.items():
                poll.register(fd, events)
            polled = wanted
        ready = poll.poll(None if idle_s is None else idle_s * 1000)
        if not ready:
            return 0
        state.advance(dict(ready))
    if state.cut_short:
        raise FailureError("the other end closed the connection before all of standard input was sent", REFUSED)
    return 0


class Relay:
    """Both directions.

    Attributes:
        sending: from standard input; None when that was at its end and all of it was sent.
        receiving: to standard output; None when the peer was at its end and all of it was written.
        cut_short: the peer took no more before standard input was at its end.
    """

    def __init__(self, sock: socket.socket, *, datagrams: bool) -> None:
        self._sock = sock
        self._datagrams = datagrams
        self.sending: Flow | None = sending_flow(sock, datagrams=datagrams)
        self.receiving: Flow | None = receiving_flow(sock, datagrams=datagrams)
        self.cut_short = False
        self._is_read = True

    def wanted(self) -> dict[int, int]:
        """Say which descriptor is to be polled for what; poll tells of errors unasked."""
        wanted = {}
        # Whoever reads our output may go while nothing comes.
        if self.receiving and self._is_read:
            wanted[STDOUT] = 0
        # With the peer at its end only a reset can come. Before, a hang-up would be told again and again, while a
        # slow reader of ours holds up what came.
        if not self.receiving:
            wanted[self._sock.fileno()] = 0
        for flow in (self.sending, self.receiving):
            if flow:
                fd, event = flow.waits_for
                wanted[fd] = wanted.get(fd, 0) | event
        return wanted

    def advance(self, ready: dict[int, int]) -> None:
        """Do what can be done without blocking."""
        if self.sending and _can_advance(self.sending, ready):
            self._send(self.sending)
        elif self.sending and not self.receiving and ready.get(self._sock.fileno(), 0) & _ENDED:
            self._cut_short()
        if self.receiving and _can_advance(self.receiving, ready):
            self._receive(self.receiving)
        if self.receiving and ready.get(STDOUT, 0) & _ENDED:
            self._is_read = False
        if self.receiving and not self.sending and not self._is_read:
            _end_as_unread()

    def _send(self, flow: Flow) -> None:
        try:
            if flow.advance():
                return
            if not self._datagrams:
                self._sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            if error.errno in _GONE:
                self._cut_short()
            elif error.errno != errno.ENOTCONN:  # By shutdown(2): the peer was faster.
                raise FailureError(f"can't send: {error.strerror}", REFUSED) from error
        self.sending = None

    def _cut_short(self) -> None:
        # What the peer said before is still to be read.
        self.sending = None
        self.cut_short = True

    def _receive(self, flow: Flow) -> None:
        try:
            if flow.advance():
                return
        except BrokenPipeError:
            _end_as_unread()
        except OSError as error:
            raise FailureError(f"the connection failed: {error.strerror}", REFUSED) from error
        self.receiving = None
        end_output()


def _can_advance(flow: Flow, ready: dict[int, int]) -> bool:
    fd, event = flow.waits_for
    return bool(ready.get(fd, 0) & (event | _ENDED))


def _end_as_unread() -> None:
    """End as a program does that writes to a pipe without a reader.

    Raises:
        FailureError: the signal is blocked.
    """
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.raise_signal(signal.SIGPIPE)
    raise FailureError("nobody reads standard output any more", REFUSED)
