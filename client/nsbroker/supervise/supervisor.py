"""The supervisor's loop: takes each call of socket(2), asks the broker, and answers.

It runs as the user, next to the programs and not above them: all that one of them can make it do is to ask the broker
for a socket, which the user may do anyway. It reads three integers of a call, and nothing else of the caller.
"""

from __future__ import annotations

import _thread
import errno
import os
import select
import socket
from time import monotonic, sleep

from ..drivers.client import Client
from ..link.errors import BrokerUnavailableError
from ..wire.messages import NamespaceRef, SocketSpec
from .calls import Unsupported, descriptor_flags, read_spec
from .failures import errno_of, line_of
from .notify import Notification, answer_continue, answer_errno, answer_fd, take_notification

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_LINES = 64
"""Lines that differ; more would tell nobody anything."""
_WORKERS = 4
"""Threads. One always waits for the next call while the others ask: until a call is taken, a signal whose handler was
set without SA_RESTART makes it fail with EINTR, which programs don't expect of socket(2)."""
_PAUSE_S = 0.05


class Supervisor:
    """Serves the calls of one listener.

    Args:
        listener: the descriptor of the filter's notifications.
        client: the way to the broker.
        namespace: where the sockets shall be.
        say: writes a line for people.
    """

    def __init__(self, listener: int, client: Client, namespace: NamespaceRef, say: Callable[[str], None]) -> None:
        self._listener = listener
        self._client = client
        self._namespace = namespace
        self._say = say
        self._said: set[str] = set()
        self._own_network = network_identity("self")
        self._turn = _thread.allocate_lock()

    def serve(self, first: int, first_ended: Callable[[], None]) -> None:
        """Answer calls until the last process with the filter is gone; the threads end with this process.

        Args:
            first: a pidfd of the process that the user started.
            first_ended: called once that has ended; others may go on without it.
        """
        for _ in range(_WORKERS):
            _thread.start_new_thread(self._work, ())
        poll = select.poll()
        poll.register(self._listener, 0)  # POLLHUP comes unasked.
        poll.register(first, select.POLLIN)
        while self._listener not in (ready := dict(poll.poll())):
            if first in ready:
                poll.unregister(first)
                first_ended()

    def _work(self) -> None:
        try:
            while True:
                with self._turn:
                    notification = take_notification(self._listener)
                if notification is not None:
                    self._serve(notification)
        except BaseException as error:
            # Without a supervisor calls fail; with one that does nothing they would hang.
            self._say(f"the supervisor failed, and what it served gets no more sockets: {error!r}")
            os._exit(1)

    def _serve(self, notification: Notification) -> None:
        try:
            self._answer(notification)
        except OSError as error:
            self._tell(line_of(error, os.strerror(error.errno or 0)))
            answer_errno(self._listener, notification, errno_of(error))
        except Exception as error:
            self._tell(f"a bug in nsbroker-get, please report it: {type(error).__name__}: {error}")
            answer_errno(self._listener, notification, errno.ENETDOWN)

    def _answer(self, notification: Notification) -> None:
        if self._has_moved(notification.tid):
            answer_continue(self._listener, notification)
            return
        try:
            spec = read_spec(self._namespace, notification.args)
        except Unsupported as refusal:
            answer_errno(self._listener, notification, refusal.errno)
            return
        sock = self._open(spec)
        try:
            answer_fd(self._listener, notification, sock.fileno(), descriptor_flags(notification.args))
        finally:
            sock.close()

    def _open(self, spec: SocketSpec) -> socket.SocketType:
        """Open a socket; while the broker has more to do than it wants to, the caller waits."""
        deadline = monotonic() + self._client.timeout
        while True:
            try:
                (sock,) = self._client.open_as(_take_fd, [spec])
                return sock
            except BrokerUnavailableError as error:
                if error.errno != errno.EAGAIN or monotonic() > deadline:
                    raise
            sleep(_PAUSE_S)

    def _has_moved(self, tid: int) -> bool:
        """Tell whether a thread is in another network namespace than the one all of this was started in."""
        network = network_identity(str(tid))
        return network is not None and network != self._own_network

    def _tell(self, line: str | None) -> None:
        if line is not None and line not in self._said and len(self._said) < _MAX_LINES:
            self._said.add(line)
            self._say(line)


def network_identity(tid: str) -> int | None:
    """Give a number that two threads of the same network namespace share; None if it can't be known.

    The files in /proc/TID/net are those of the thread's namespace, and each namespace's have inodes of their own.
    Unlike /proc/TID/ns/net they are open to everyone, so that this works where ptrace(2) would be refused: for a
    process that is not dumpable, or where a security module forbids it.
    """
    try:
        return os.stat(f"/proc/{tid}/net/dev").st_ino
    except OSError:
        return None


def _take_fd(spec: SocketSpec, fd: int) -> socket.SocketType:
    return socket.SocketType(spec.family, spec.type, spec.proto, fd)
