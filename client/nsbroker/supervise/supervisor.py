"""The supervisor's loop: takes each call that the filter holds, asks the broker if need be, and answers.

It runs as the user, beside the programs and not above them. A program can make it ask the broker for a socket, which
the user may do anyway. It reads the registers of a call, and the memory of the caller only for the value of an option
and for an address to bind.

When a call returns, the supervisor holds no copy of its socket. So the port of a socket that the program closes is
free at once.
"""

from __future__ import annotations

import _thread
import errno
import os
import select
import socket
import sys
from functools import partial
from time import monotonic, sleep

from ..drivers.thread import Client
from ..link.errors import CONFINED, AccessDeniedError, BrokerUnavailableError, Error
from ..wire.messages import NamespaceRef, SocketSpec
from . import caller
from .calls import (
    IN_USE,
    LOCAL_PROTOCOLS,
    NO_TUN,
    NOT_GRANTED,
    SEE_LIST,
    SOCKETS_FOR_INTERFACES,
    UNSEEN,
    Refusal,
    as_int,
    descriptor_flags,
    errno_of,
    line_of,
    option_line,
    read_spec,
)
from .filter import TUNSETIFF, Machine
from .kernel import (
    Notification,
    answer,
    answer_continue,
    answer_errno,
    is_waiting,
    lend_fd,
    take_notification,
)
from .lines import PATIENCE_MS, Lines
from .low_ports import low_port_line, refused_low_port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..place.options import AtBirth

_WORKERS = 4
"""Threads. One of them waits for the next call while the others ask the broker. Until a thread takes a call, a signal
whose handler lacks SA_RESTART makes it fail with EINTR, which programs don't expect of socket(2)."""
_PAUSE_S = 0.05
_INT_BYTES = 4
_UNSIGNED = 0xFFFFFFFF
_ROUTES = (int(socket.AF_NETLINK), 0)
"""Family and protocol of NETLINK_ROUTE, by which the C library asks for addresses before it looks up names."""


class Supervisor:
    """Serves the calls of one listener.

    Args:
        machine: the machine of the filter.
        listener: the descriptor of the filter's notifications.
        client: the way to the broker.
        namespace: the namespace of the sockets.
        at_birth: the options that the sockets have from birth.
        say: writes a line for the user, to standard error.

    Raises:
        ForeignProcError: /proc shows other processes, so the callers can't be found there.
    """

    def __init__(
        self,
        machine: Machine,
        listener: int,
        client: Client,
        namespace: NamespaceRef,
        at_birth: AtBirth,
        say: Callable[[str], None],
    ) -> None:
        self._machine = machine
        self._listener = listener
        self._client = client
        self._namespace = namespace
        self._at_birth = at_birth
        self._lines = Lines(say)
        if client.on_long_wait is not None:  # Several calls can wait at the same time, for one broker.
            client.on_long_wait = partial(self._lines.say, f"the program waits for the broker at {client.path}")
        if client.stock:
            from ..link.stock import Stock

            # The threads are alike: none of them ever changes its user or its mounts.
            client.broker.stock = Stock(self._lines.say, for_all_threads=True)
        self._own_network = caller.own_network()
        self._for_interfaces: tuple[tuple[int, int, int], ...] = SOCKETS_FOR_INTERFACES
        self._turn = _thread.allocate_lock()

    def serve(self, first: int, ready: Callable[[], None], first_ended: Callable[[], None]) -> None:
        """Answer calls until the last process with the filter is gone. The threads end with this process.

        Args:
            first: a pidfd of the process that the user started.
            ready: called as soon as calls are answered.
            first_ended: called when that process has ended. Its children may run on.

        Raises:
            RuntimeError: a limit of the user does not allow the threads.
        """
        for _ in range(_WORKERS):
            _thread.start_new_thread(self._work, ())
        ready()
        poll = select.poll()
        poll.register(self._listener, 0)  # poll(2) always reports POLLHUP.
        poll.register(first, select.POLLIN)
        poll.register(self._lines.wake, select.POLLIN)
        while self._listener not in (events := dict(poll.poll(PATIENCE_MS if self._lines.has_held() else None))):
            if self._lines.wake in events:
                self._lines.sleep()
            else:
                self._lines.release()
            if first in events:
                self._lines.release()
                poll.unregister(first)
                first_ended()
        self._lines.release()

    def _work(self) -> None:
        try:
            while True:
                with self._turn:
                    notification = take_notification(self._listener)
                if notification is not None:
                    self._serve(notification)
        except BaseException as error:
            # Calls without a supervisor fail. With an idle one they would hang.
            self._lines.say(
                f"the supervisor failed, so its programs get no more sockets; please report this: {error!r}"
            )
            os._exit(1)

    def _serve(self, notification: Notification) -> None:
        try:
            self._answer(notification)
        except Refusal as refusal:
            self._explain(notification, refusal.line)
            answer_errno(self._listener, notification, refusal.errno)
        except OSError as error:
            line = line_of(error, os.strerror(error.errno or 0))
            # The C library looks up names without this socket, too. Only a program that gets no other one misses it.
            may_not_matter = isinstance(error, AccessDeniedError) and self._asks_for_routes(notification)
            self._explain(notification, line, may_not_matter=may_not_matter)
            answer_errno(self._listener, notification, errno_of(error))
        except Exception as error:
            line = f"a bug in nsbroker-get, please report it: {type(error).__name__}: {error}"
            self._explain(notification, line)
            answer_errno(self._listener, notification, errno.ENETDOWN)

    def _answer(self, call: Notification) -> None:
        if self._has_moved(call.tid):
            answer_continue(self._listener, call)
        elif call.number == self._machine.socket:
            self._make_socket(call)
        elif call.number == self._machine.ioctl:
            self._ask_about_interfaces(call)
        elif call.number == self._machine.bind:
            self._look_at_bind(call)
        else:
            self._set_option(call)

    def _asks_for_routes(self, call: Notification) -> bool:
        return call.number == self._machine.socket and (as_int(call.args[0]), as_int(call.args[2])) == _ROUTES

    def _make_socket(self, call: Notification) -> None:
        sock = self._open(read_spec(self._namespace, call.args, self._at_birth.of))
        try:
            number = lend_fd(self._listener, call, sock.fileno(), descriptor_flags(call.args))
        except PermissionError as error:
            raise Refusal(errno.EACCES, CONFINED) from error
        finally:
            # Before the program goes on: otherwise the port could outlive the program's own close(2).
            sock.close()
        answer(self._listener, call, number)
        if as_int(call.args[0]) != _ROUTES[0]:
            self._lines.drop_held()

    def _ask_about_interfaces(self, call: Notification) -> None:
        """Let an ioctl(2) run. If its socket is a local one, first put a socket of the namespace into its place."""
        fd, request = (as_int(arg) for arg in call.args[:2])
        if request == TUNSETIFF:
            raise Refusal(errno.EPERM, NO_TUN)
        sock = self._read_socket(call.tid, fd)
        if sock is not None and sock.protocol in LOCAL_PROTOCOLS:
            if not caller.is_idle_unix_socket(sock.inode):
                raise Refusal(errno.EPERM, IN_USE)
            flags = caller.read_flags(call.tid, fd)
            inside = self._open_for_interfaces(flags & os.O_NONBLOCK)
            try:
                lend_fd(self._listener, call, inside.fileno(), flags & os.O_CLOEXEC, fd)
            finally:
                inside.close()
        answer_continue(self._listener, call)

    def _read_socket(self, tid: int, fd: int) -> caller.Socket | None:
        try:
            return caller.read_socket(tid, fd)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and caller.network_identity(str(tid)) is not None:
                raise Refusal(errno.EBADF) from error
            raise Refusal(errno.EPERM, UNSEEN) from error

    def _open_for_interfaces(self, nonblock: int) -> socket.SocketType:
        """Open a socket of the namespace, of any kind that a grant allows."""
        for kind in self._for_interfaces:
            family, socket_type, proto = kind
            try:
                sock = self._open(SocketSpec(self._namespace, family, socket_type | nonblock, proto))
            except OSError as error:
                # Denied by the policy, or by the kernel in the namespace, for example by its ping_group_range.
                if isinstance(error, Error) and not isinstance(error, AccessDeniedError):
                    raise
                refused = error
                continue
            self._for_interfaces = (kind, *(other for other in self._for_interfaces if other != kind))
            return sock
        raise Refusal(errno.EPERM, f"{NOT_GRANTED}: {refused.strerror}{SEE_LIST}")

    def _look_at_bind(self, call: Notification) -> None:
        """Let a bind(2) run. If it will fail because of a low port, say so."""
        try:
            port = refused_low_port(call, self._namespace, self._open, self._lines.is_new)
        except OSError:
            port = None  # The program can't be traced, or the broker is away.
        if port is not None:
            self._explain(call, low_port_line(port))
        answer_continue(self._listener, call)

    def _set_option(self, call: Notification) -> None:
        """Let a setsockopt(2) succeed if the socket has the value already. Otherwise the kernel decides."""
        fd, level, name, _, size = (as_int(arg) for arg in call.args[:5])
        line: str | None = None
        try:
            if size >= _INT_BYTES:
                value = int.from_bytes(caller.read_memory(call.tid, call.args[3], _INT_BYTES), sys.byteorder)
                if self._has_option(call.tid, fd, level, name, value):
                    answer(self._listener, call, 0)
                    return
                line = option_line(level, name, value)
        except PermissionError:
            line = option_line(level, name, None)
        except OSError:
            pass  # No socket, or no memory: the kernel says so.
        if not caller.may_set_options(call.tid):
            self._explain(call, line)
        answer_continue(self._listener, call)

    def _has_option(self, tid: int, fd: int, level: int, name: int, value: int) -> bool:
        sock = caller.copy_socket(tid, fd)
        try:
            return sock.getsockopt(level, name) & _UNSIGNED == value
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
        """Return whether a thread is in another network namespace than this process. Unknown means no."""
        network = caller.network_identity(str(tid))
        return network is not None and network != self._own_network

    def _explain(self, call: Notification, line: str | None, *, may_not_matter: bool = False) -> None:
        """Say once why a call fails. No line is true for a caller that was killed, since its descriptors are gone."""
        if line is None or not self._lines.is_new(line) or not is_waiting(self._listener, call):
            return
        if may_not_matter:
            self._lines.hold_back(line)
        else:
            self._lines.say(line)


def _take_fd(spec: SocketSpec, fd: int) -> socket.SocketType:
    return socket.SocketType(spec.family, spec.type, spec.proto, fd)
