"""Runs another program in place of this one, with sockets at the descriptors that it expects.

It also sets the environment that tells a server about its sockets, as systemd and nginx do.
"""

from __future__ import annotations

import errno
import os
import signal

from .messages import CANNOT_EXECUTE, NOT_FOUND, FailureError, say, usage_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import NoReturn

FIRST_FD = 3
"""SD_LISTEN_FDS_START."""

_STDERR = 2
_ABOUT_SOCKETS = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID", "REMOTE_ADDR", "REMOTE_PORT")
"""Variables that may describe sockets of our own caller. The program keeps our process id, so it would believe them."""


def lend_at(sources: list[int], targets: list[int]) -> None:
    """Put copies of `sources` at the numbers `targets`, where the next program inherits them.

    A descriptor that already has one of these numbers is closed.

    Raises:
        FailureError: a number is past RLIMIT_NOFILE.
    """
    # First move each source out of the way, since the target of one may be the source of another.
    moved = [_outside(fd, targets) for fd in sources]
    for fd, target in zip(moved, targets, strict=True):
        try:
            os.dup2(fd, target, inheritable=True)
        except OSError as error:
            limit = os.sysconf("SC_OPEN_MAX")
            raise usage_error(f"descriptor {target}: {error.strerror}; the limit is {limit} (ulimit -n)") from error


def _outside(fd: int, targets: list[int]) -> int:
    while fd in targets:
        fd = os.dup(fd)
    return fd


def run_program(command: list[str], sources: list[int], targets: list[int]) -> NoReturn:
    """Put the sockets at their numbers and execute `command`, found in PATH, without a shell.

    Raises:
        FailureError: it can't be executed (126), or is not found (127), as in env(1).
    """
    if not command[0]:
        raise _cannot_run(command[0], errno.ENOENT)
    stderr = _outside(os.dup(_STDERR), targets)
    lend_at(sources, targets)
    # Python ignores this signal, and the program would inherit that.
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606  # without a shell: LISTEN_PID must be the program's own
    except OSError as error:
        failure = _cannot_run(command[0], error.errno or errno.ENOEXEC)
        if _STDERR in targets:
            say(str(failure), stderr)
            os._exit(failure.status)
        raise failure from error


def expect_program(name: str) -> None:
    """Check that a program can be executed, before a socket is made for it.

    Raises:
        FailureError: as `run_program`.
    """
    places = [name] if "/" in name else [os.path.join(directory, name) for directory in os.get_exec_path()]
    files = [place for place in places if os.path.isfile(place)]
    if not any(os.access(file, os.X_OK) for file in files):
        raise _cannot_run(name, errno.EACCES if files or os.path.isdir(name) else errno.ENOENT)


def _cannot_run(name: str, number: int) -> FailureError:
    status = NOT_FOUND if number == errno.ENOENT else CANNOT_EXECUTE
    return FailureError(f"can't run {name or repr(name)}: {os.strerror(number)}", status)


def forget_callers_sockets() -> None:
    """Remove the variables that describe sockets. With --inetd the program does not need them."""
    for variable in _ABOUT_SOCKETS:
        os.environ.pop(variable, None)


def as_systemd(names: list[str]) -> list[int]:
    """Describe sockets for sd_listen_fds_with_names(3), and return the numbers that their descriptors must have.

    Call it in the process that becomes the program: LISTEN_PID is its process id, which exec(2) keeps.
    """
    os.environ["LISTEN_FDS"] = str(len(names))
    os.environ["LISTEN_FDNAMES"] = ":".join(names)
    os.environ["LISTEN_PID"] = str(os.getpid())
    return list(range(FIRST_FD, FIRST_FD + len(names)))


def as_nginx(count: int) -> list[int]:
    """Describe listeners as nginx does for its new binary in an upgrade, and return the numbers that they must have."""
    places = list(range(FIRST_FD, FIRST_FD + count))
    os.environ["NGINX"] = "".join(f"{place};" for place in places)
    return places


def name_peer(connection: socket.socket) -> None:
    """Set REMOTE_ADDR and, if the peer has a port, REMOTE_PORT, as systemd does."""
    try:
        peer = connection.getpeername()
    except OSError:
        return  # The peer has gone already.
    if isinstance(peer, tuple):
        host, port, _, scope_id = (*peer, 0, 0)[:4]
        # The scope as a number: the interface's name would be looked up in this process's own namespace.
        os.environ["REMOTE_ADDR"] = f"{host}%{scope_id}" if scope_id else host
        os.environ["REMOTE_PORT"] = str(port)
    elif isinstance(peer, bytes) and b"\0" not in peer[1:]:
        # A variable can't hold a NUL, so a peer with such an abstract name counts as unnamed.
        os.environ["REMOTE_ADDR"] = "@" + os.fsdecode(peer[1:])
    elif isinstance(peer, str) and peer:
        os.environ["REMOTE_ADDR"] = peer
