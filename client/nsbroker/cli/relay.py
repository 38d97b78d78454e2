"""Relays standard input to a socket and the socket to standard output. Each direction ends by itself, as in `nc -N`."""

from __future__ import annotations

import errno
import select
import signal
import socket

from .flows import STDOUT, end_output, receiving_flow, sending_flow
from .messages import REFUSED, FailureError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .flows import Flow

_GONE = frozenset({errno.EPIPE, errno.ECONNRESET})
_ENDED = select.POLLERR | select.POLLHUP


def relay(sock: socket.socket, idle_s: float | None, *, datagrams: bool) -> int:
    """Relay bytes until both directions are done, or no byte came for `idle_s` seconds. Return the exit status.

    When standard output has no reader any more, the process ends by SIGPIPE, as a program that writes to it would.

    Raises:
        FailureError: the connection, standard input or standard output failed.
    """
    # splice(2) has no MSG_NOSIGNAL. The signal would end this process before it has read the last bytes of the peer.
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
    """Both directions of a relay.

    Attributes:
        sending: the flow from standard input (`None`: all of it was sent).
        receiving: the flow to standard output (`None`: the peer ended, and all of its bytes were written).
        cut_short: the peer closed the connection before the end of standard input.
    """

    def __init__(self, sock: socket.socket, *, datagrams: bool) -> None:
        self._sock = sock
        self._datagrams = datagrams
        self.sending: Flow | None = sending_flow(sock, datagrams=datagrams)
        self.receiving: Flow | None = receiving_flow(sock, datagrams=datagrams)
        self.cut_short = False
        self._is_read = True

    def wanted(self) -> dict[int, int]:
        """Return the descriptors to poll, each with its events. poll(2) reports errors without an event."""
        wanted = {}
        # The reader of our output may go away while no byte comes.
        if self.receiving and self._is_read:
            wanted[STDOUT] = 0
        # After the end of the peer's bytes only a reset can come. Before it, a hang-up would wake every poll while a
        # slow reader of ours holds up the bytes.
        if not self.receiving:
            wanted[self._sock.fileno()] = 0
        for flow in (self.sending, self.receiving):
            if flow:
                fd, event = flow.waits_for
                wanted[fd] = wanted.get(fd, 0) | event
        return wanted

    def advance(self, ready: dict[int, int]) -> None:
        """Move all bytes that can be moved without blocking.

        Args:
            ready: the events that poll(2) reported for each descriptor.
        """
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
            elif error.errno != errno.ENOTCONN:  # From shutdown(2): the peer closed first.
                raise FailureError(f"can't send: {error.strerror}", REFUSED) from error
        self.sending = None

    def _cut_short(self) -> None:
        # The bytes that the peer sent before are still to be read.
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
    """End this process as the kernel ends a program that writes to a pipe without a reader.

    Raises:
        FailureError: the signal is blocked.
    """
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.raise_signal(signal.SIGPIPE)
    raise FailureError("standard output has no reader any more", REFUSED)
