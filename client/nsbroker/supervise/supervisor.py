"""The supervisor's loop: takes each call of socket(2), asks the broker, and answers.

It runs as the user, beside the programs and not above them. A program can make it ask the broker for a socket, which
the user may do anyway. It reads three integers of a call, and no memory of the caller.
"""

from __future__ import annotations

import _thread
import errno
import os
import select
import socket
from time import monotonic, sleep

from ..drivers.thread import Client
from ..link.errors import BrokerUnavailableError
from ..wire.messages import NamespaceRef, SocketSpec
from .calls import Unsupported, descriptor_flags, errno_of, line_of, read_spec
from .kernel import Notification, answer_continue, answer_errno, answer_fd, take_notification

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_LINES = 64
"""The supervisor writes no more different lines than this."""
_WORKERS = 4
"""Threads. One of them waits for the next call while the others ask the broker. Until a thread takes a call, a signal
whose handler lacks SA_RESTART makes it fail with EINTR, which programs don't expect of socket(2)."""
_PAUSE_S = 0.05


class Supervisor:
    """Serves the calls of one listener.

    Args:
        listener: the descriptor of the filter's notifications.
        client: the way to the broker.
        namespace: the namespace of the sockets.
        say: writes a line for the user, to standard error.
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
        """Answer calls until the last process with the filter is gone. The threads end with this process.

        Args:
            first: a pidfd of the process that the user started.
            first_ended: called when that process has ended. Its children may run on.
        """
        for _ in range(_WORKERS):
            _thread.start_new_thread(self._work, ())
        poll = select.poll()
        poll.register(self._listener, 0)  # poll(2) always reports POLLHUP.
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
            # Calls without a supervisor fail. With an idle one they would hang.
            self._say(f"the supervisor failed, so its programs get no more sockets; please report this: {error!r}")
            os._exit(1)

    def _serve(self, notification: Notification) -> None:
        try:
            self._answer(notification)
        except OSError as error:
            self._explain(line_of(error, os.strerror(error.errno or 0)))
            answer_errno(self._listener, notification, errno_of(error))
        except Exception as error:
            self._explain(f"a bug in nsbroker-get, please report it: {type(error).__name__}: {error}")
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
        """Open a socket. While the broker is overloaded, the caller waits."""
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
        """Return whether a thread is in another network namespace than this process."""
        network = network_identity(str(tid))
        return network is not None and network != self._own_network

    def _explain(self, line: str | None) -> None:
        if line is not None and line not in self._said and len(self._said) < _MAX_LINES:
            self._said.add(line)
            self._say(line)


def network_identity(tid: str) -> int | None:
    """Return a number that all threads of one network namespace share (`None`: it is unknown).

    The files in /proc/TID/net are those of the thread's namespace, and have other inodes in each namespace. Unlike
    /proc/TID/ns/net, every user can read them. So this works where ptrace(2) is refused: for a process that is not
    dumpable, or under a security module.
    """
    try:
        return os.stat(f"/proc/{tid}/net/dev").st_ino
    except OSError:
        return None


def _take_fd(spec: SocketSpec, fd: int) -> socket.SocketType:
    return socket.SocketType(spec.family, spec.type, spec.proto, fd)
