"""Starts the supervisor as a process without a parent: a grandchild, in its own session.

The calling process can then become the user's program itself. So the program has the right exit status, signals and
place in the shell's job without any help. Of the caller's files, the supervisor keeps only standard error open.
"""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress

from ..link.fdpass import lend_packet, take_packet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import NoReturn

    Serve = Callable[[int, int, Callable[[], None], Callable[[], None]], None]
    """Serves a listener; the other arguments are those of `Supervisor.serve`."""

_READY = b"ready"
_MAX_ANSWER_BYTES = 1000
_STDERR = 2
_IGNORED = (
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE, signal.SIGUSR1, signal.SIGUSR2
)  # fmt: skip
"""The supervisor ends with the last program. Programs may need it while they clean up after one of these signals."""


class LostSupervisorError(Exception):
    """The supervisor ended before it was ready. The text is the cause, if it could say one."""


class Supervision:
    """A started supervisor that waits for its listener. It ends if this object is deleted first."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def take_listener(self, listener: int) -> None:
        """Hand the listener over, close it in this process, and wait until the supervisor serves it.

        Raises:
            LostSupervisorError: the supervisor ended instead.
            OSError: as sendmsg(2).
        """
        with self._sock:
            with suppress(BrokenPipeError):  # It has ended already, and may have said why.
                lend_packet(self._sock, b"listener", [listener])
            os.close(listener)
            answer = self._sock.recv(_MAX_ANSWER_BYTES)
            if answer != _READY:
                raise LostSupervisorError(answer.decode() or "it was killed")


def start(serve: Serve, kept_fds: Iterable[int]) -> Supervision:
    """Start a supervisor that calls `serve` as soon as it has a listener, and ends when `serve` returns.

    Args:
        serve: the work of the supervisor.
        kept_fds: the descriptors that `serve` needs.

    Raises:
        OSError: as fork(2).
    """
    caller = os.pidfd_open(os.getpid())
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        child = os.fork()
        if child == 0:
            _run_child(serve, caller, theirs, kept_fds)
        _reap(child)
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
        os.close(caller)
    return Supervision(ours)


def _reap(child: int) -> None:
    try:
        os.waitpid(child, 0)
    except ChildProcessError:
        return  # SIGCHLD is ignored, so the kernel reaped the child.


def _run_child(serve: Serve, caller: int, sock: socket.socket, kept_fds: Iterable[int]) -> NoReturn:
    status = 1
    try:
        os.setsid()
        if os.fork() == 0:
            _let_go({_STDERR, caller, sock.fileno(), *kept_fds})
            _wait_and_serve(serve, caller, sock)
        status = 0
    except Exception as error:
        sock.send(str(error).encode()[:_MAX_ANSWER_BYTES])
    finally:
        # Not sys.exit: the child must not run the caller's clean-up.
        os._exit(status)


def _wait_and_serve(serve: Serve, caller: int, sock: socket.socket) -> None:
    _, fds = take_packet(sock, len(b"listener"), 1)

    def be_ready() -> None:
        sock.send(_READY)
        sock.close()

    if fds:
        # A reader of the program's standard error waits until all copies of it are closed.
        serve(fds[0], caller, be_ready, lambda: _point_at_null(_STDERR))


def _let_go(kept: set[int]) -> None:
    """Release everything that other processes may wait for: signals, directory, descriptors."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    os.chdir("/")
    _point_at_null(0)
    _point_at_null(1)
    for fd in {int(name) for name in os.listdir("/proc/self/fd")} - kept - {0, 1}:
        try:
            os.close(fd)
        except OSError:
            continue  # This was the descriptor of the listing itself.


def _point_at_null(fd: int) -> None:
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, fd)
    os.close(null)
