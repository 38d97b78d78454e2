"""nsbroker-get as an unprivileged user, between the test's own descriptors: pipes, sockets, or one socket both ways."""

from __future__ import annotations

import os
import select
import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from support.process_state import state
from support.tool.running import Forked, RunTool
from support.waiting import LIMIT_S, wait_until

PIPES, SOCKETS, ONE_SOCKET = "pipes", "sockets", "one socket"


class Piped(Forked):
    """A process. `stdin` and `stdout` are the test's ends. `close_input` and `close_output` close them."""

    def __init__(self, pid: int, stdin: int, stdout: int, stderr: int) -> None:
        super().__init__(pid)
        self.stdin, self.stdout, self._stderr = stdin, stdout, stderr
        self._open = {stdin, stdout, stderr}

    def write(self, data: bytes) -> None:
        part = memoryview(data)
        while part:
            part = part[os.write(self.stdin, part) :]

    def read(self, count: int | None = None) -> bytes:
        """Read so many bytes, or all bytes to the end."""
        parts, left = [], count
        while left is None or left:
            assert select.select([self.stdout], [], [], LIMIT_S)[0], "nothing came"
            part = os.read(self.stdout, 2**20 if left is None else left)
            if not part:
                break
            parts.append(part)
            left = None if left is None else left - len(part)
        return b"".join(parts)

    def in_background(self, function: Callable[[], object]) -> threading.Thread:
        thread = threading.Thread(target=function)
        thread.start()
        return thread

    def close_input(self) -> None:
        """Let its standard input end."""
        if self.stdin == self.stdout:
            with socket.socket(fileno=os.dup(self.stdin)) as sock:
                sock.shutdown(socket.SHUT_WR)
        else:
            self._close(self.stdin)

    def close_output(self) -> None:
        """Read its standard output no more."""
        self._close(self.stdout)

    def _close(self, fd: int) -> None:
        if fd in self._open:
            self._open.remove(fd)
            os.close(fd)

    def said(self) -> str:
        """Return its whole standard error, once it has ended."""
        self.wait()
        return os.read(self._stderr, 65536).decode()

    def sleeps(self) -> None:
        """Wait until it sleeps. A process that spins never does."""
        wait_until(lambda: all(state(self.pid) == "S" for _ in range(200)))

    def close(self) -> None:
        if self._status is None:
            os.kill(self.pid, 9)
            self.wait()
        for fd in list(self._open):
            self._close(fd)


def _ends(kind: str) -> tuple[int, int, int, int]:
    """The test's ends of standard input and output, and the program's."""
    if kind == PIPES:
        (their_in, our_in), (our_out, their_out) = os.pipe(), os.pipe()
        return our_in, our_out, their_in, their_out
    ours, theirs = _socket_pair()
    if kind == ONE_SOCKET:
        return ours, ours, theirs, theirs
    our_out, their_out = _socket_pair()
    return ours, our_out, theirs, their_out


def _socket_pair() -> tuple[int, int]:
    ours, theirs = socket.socketpair()
    # Less than the program writes at once: it would wait if it did not take care.
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    return ours.detach(), theirs.detach()


@contextmanager
def piped_tool(run: RunTool) -> Iterator[Callable[..., Piped]]:
    """Yield a function that starts nsbroker-get with arguments. Its processes end with the test.

    If `standard` gives another pair of descriptors, the test has no ends of its own.
    """
    started: list[Piped] = []

    def start(*args: str, ends: str = PIPES, standard: tuple[int, int] | None = None) -> Piped:
        our_in, our_out, their_in, their_out = _ends(ends)
        our_err, their_err = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads: the child uses none of theirs
            pid = os.fork()
        if pid == 0:
            run.become([*(standard or (their_in, their_out)), their_err], args)
        for fd in {their_in, their_out, their_err}:
            os.close(fd)
        started.append(Piped(pid, our_in, our_out, our_err))
        return started[-1]

    try:
        yield start
    finally:
        for piped in started:
            piped.close()
