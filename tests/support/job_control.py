"""A shell with job control and one job, on a terminal of its own, as a user at a keyboard has it."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import termios
from typing import NoReturn, Self

from support.tool.running import RunTool
from support.waiting import LIMIT_S, wait_until


class Shell:
    """Runs nsbroker-get in the foreground of a terminal. A job that stops is continued at once."""

    def __init__(self, run: RunTool, *args: str) -> None:
        self._keyboard, terminal = os.openpty()
        self._states, states = os.pipe()
        self._shown = b""
        self._pid = os.fork()
        if self._pid == 0:
            try:
                _be_shell(terminal, states, run, args)
            finally:
                os._exit(1)
        os.close(terminal)
        os.close(states)

    def type(self, keys: bytes) -> None:
        os.write(self._keyboard, keys)

    def read_until(self, text: str) -> None:
        """Read the terminal until it shows this text."""
        wait_until(lambda: text.encode() in self._read_some())

    def _read_some(self) -> bytes:
        if select.select([self._keyboard], [], [], 0.01)[0]:
            self._shown += os.read(self._keyboard, 1000)
        return self._shown

    def job_state(self) -> str:
        """Return the next change of the job that the shell sees."""
        assert select.select([self._states], [], [], LIMIT_S)[0]
        return os.read(self._states, 100).decode()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._keyboard)
        os.close(self._states)


def _be_shell(terminal: int, states: int, run: RunTool, args: tuple[str, ...]) -> None:
    os.setsid()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    job = os.fork()
    if job == 0:
        _be_job(terminal, run, args)
    while True:
        _, status = os.waitpid(job, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            os.write(states, f"ended with {os.waitstatus_to_exitcode(status)}".encode())
            signal.pause()
        os.write(states, f"stopped by {os.WSTOPSIG(status)}".encode())
        os.kill(job, signal.SIGCONT)


def _be_job(terminal: int, run: RunTool, args: tuple[str, ...]) -> NoReturn:
    os.setpgid(0, 0)
    # A background process is stopped when it asks for the foreground.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
    os.tcsetpgrp(terminal, os.getpid())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTTOU])
    run.become([terminal] * 3, args)
