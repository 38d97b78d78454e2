"""Runs another program in the place of this one, with sockets at the descriptors it expects."""

from __future__ import annotations

import os

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
    stderr = _outside(os.dup(_STDERR), targets)
    lend_at(sources, targets)
    try:
        os.execvp(command[0], command)  # noqa: S606  # without a shell: LISTEN_PID must be the program's own
    except OSError as error:
        status = NOT_FOUND if isinstance(error, FileNotFoundError) else CANNOT_EXECUTE
        text = f"can't run {command[0]}: {error.strerror}"
        if _STDERR in targets:
            say(text, stderr)
            os._exit(status)
        raise FailureError(text, status) from error
