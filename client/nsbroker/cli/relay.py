"""Standard input to a socket, and the socket to standard output, each direction ending by itself, as `nc -N` does."""

from __future__ import annotations

import errno
import os
import select
import socket
import stat

from .failure import REFUSED, FailureError

_STDIN, _STDOUT = 0, 1
_READ_BYTES = 65536
_DATAGRAM_BYTES = 16384
"""As nc(1) sends what it reads."""
_SAFE_WRITE_BYTES = 4096
"""A pipe that poll(2) calls writable takes this much without blocking: PIPE_BUF. O_NONBLOCK would bind everyone who
has the same pipe."""
_NOSIGNAL = int(socket.MSG_NOSIGNAL)
_GONE = frozenset({errno.EPIPE, errno.ECONNRESET})


def relay(sock: socket.socket, idle_s: float | None, *, datagrams: bool) -> int:
    """Pass on bytes until both directions are done, or nothing came for `idle_s`; returns the exit status."""
    sock.setblocking(False)
    state = Relay(sock, datagrams=datagrams)
    poll = select.poll()
    while state.sending or state.receiving:
        wanted = state.wanted()
        for fd, events in wanted.items():
            poll.register(fd, events)
        ready = poll.poll(None if idle_s is None else idle_s * 1000)
        for fd in wanted:
            poll.unregister(fd)
        if not ready:
            return 0
        state.advance(dict(ready))
    if state.cut_short:
        raise FailureError("the other end closed the connection before all of standard input was sent", REFUSED)
    return 0


class Relay:
    """Both directions, at most one buffer of each: nothing is read before what was read is written.

    Attributes:
        sending: standard input is not at its end, or not all of it was sent.
        receiving: the peer is not at its end, or not all of it was written.
        cut_short: the peer took no more before standard input was at its end.
    """

    def __init__(self, sock: socket.socket, *, datagrams: bool) -> None:
        self._sock = sock
        self._datagrams = datagrams
        self._to_send = self._to_write = b""
        self.sending = self.receiving = True
        self.cut_short = False
        self._write_bytes = _READ_BYTES if stat.S_ISREG(os.fstat(_STDOUT).st_mode) else _SAFE_WRITE_BYTES

    def wanted(self) -> dict[int, int]:
        """Say which descriptor is to be polled for what."""
        wanted = {}
        on_socket = 0
        if self._to_send:
            on_socket |= select.POLLOUT
        elif self.sending:
            wanted[_STDIN] = select.POLLIN
        if self._to_write:
            wanted[_STDOUT] = select.POLLOUT
        elif self.receiving:
            on_socket |= select.POLLIN
        # With the peer at its end only a reset can come, and poll tells of it unasked. Else to ask for nothing would
        # make it return at once, again and again, while a slow reader of ours holds up what came.
        if on_socket or not self.receiving:
            wanted[self._sock.fileno()] = on_socket
        return wanted

    def advance(self, ready: dict[int, int]) -> None:
        """Do what can be done without blocking."""
        events = ready.get(self._sock.fileno(), 0)
        if self._to_send and events:
            self._send()
        elif _STDIN in ready:
            self._read()
        if self._to_write and _STDOUT in ready:
            self._write()
        elif self.receiving and not self._to_write and events & ~select.POLLOUT:
            self._receive()
        elif not self.receiving and self.sending and events & (select.POLLERR | select.POLLHUP):
            self._cut_short()

    def _read(self) -> None:
        try:
            self._to_send = os.read(_STDIN, _DATAGRAM_BYTES if self._datagrams else _READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            raise FailureError(f"standard input: {error.strerror}") from error
        if not self._to_send:
            self._end_sending()

    def _end_sending(self) -> None:
        self.sending = False
        if self._datagrams:
            return
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:  # The peer was faster.
                raise

    def _send(self) -> None:
        try:
            sent = self._sock.send(self._to_send, _NOSIGNAL)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno in _GONE:
                self._cut_short()
                return
            raise FailureError(f"can't send: {error.strerror}", REFUSED) from error
        self._to_send = self._to_send[sent:]

    def _receive(self) -> None:
        try:
            self._to_write = self._sock.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            raise FailureError(f"the connection failed: {error.strerror}", REFUSED) from error
        if not self._to_write and not self._datagrams:
            self._end_receiving()

    def _end_receiving(self) -> None:
        self.receiving = False
        # Whoever reads our output sees its end now, even if there is more to send. A closed descriptor's number
        # would go to the next file, so another one takes its place.
        null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(null, _STDOUT)
        os.close(null)

    def _write(self) -> None:
        try:
            written = os.write(_STDOUT, self._to_write[: self._write_bytes])
        except BlockingIOError:
            return
        except OSError as error:
            raise FailureError(f"standard output: {error.strerror}") from error
        self._to_write = self._to_write[written:]

    def _cut_short(self) -> None:
        # What the peer said before is still to be read.
        self._to_send = b""
        self.sending = False
        self.cut_short = True
