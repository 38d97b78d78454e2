"""Runs another program in the place of this one, with sockets at the descriptors it expects."""

from __future__ import annotations

import errno
import os
import signal

from .failure import CANNOT_EXECUTE, NOT_FOUND, FailureError, say, usage_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_STDERR = 2


def lend_at(sources: list[int], targets: list[int]) -> None:
    """Put copies of `sources` at the numbers `targets`, for the next program to inherit. What was there is closed.

    Raises:
        FailureError: a number is past RLIMIT_NOFILE.
    """
    # First all out of the way, since one's target may be another one's source.
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
    """Put the sockets at their places and run `command`, by its name in PATH, without a shell.

    Raises:
        FailureError: it can't be executed (126), or is not found (127), as env(1) has it.
    """
    if not command[0]:
        raise _cannot_run(command[0], errno.ENOENT)
    stderr = _outside(os.dup(_STDERR), targets)
    lend_at(sources, targets)
    # Python ignores it, and that would be passed on.
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
    """Find out before there is a socket that a program is not there.

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
