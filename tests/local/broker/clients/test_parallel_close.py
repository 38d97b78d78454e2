"""Several files are closed at the same time, and SO_LINGER holds none of them up."""

from __future__ import annotations

import _thread
import os
import select
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from threading import Barrier, BrokenBarrierError

import pytest

from nsbrokerd.clients.parallel_close import MAX_THREADS, ParallelClose

SOON_S = 0.01
LATE_S = 30.0


@pytest.fixture(autouse=True)
def interrupts() -> Iterator[list[int]]:
    """The signals that came."""
    came: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _frame: came.append(number))
    yield came
    signal.signal(signal.SIGALRM, signal.SIG_IGN)  # a signal that a thread has not taken yet would end the process
    signal.signal(signal.SIGALRM, before)


def test_files_wait_together() -> None:
    """Each close goes on only when the others have begun, too."""
    barrier = Barrier(MAX_THREADS)
    closed = []

    def close(fd: int) -> None:
        with suppress(BrokenBarrierError):
            barrier.wait(LATE_S)
            closed.append(fd)

    parallel = ParallelClose()
    for _ in range(2):
        parallel.close(range(MAX_THREADS), close, LATE_S)
    assert sorted(closed) == sorted([*range(MAX_THREADS)] * 2)


def test_more_files_than_threads_are_closed() -> None:
    closed: list[int] = []
    ParallelClose().close(range(3 * MAX_THREADS + 1), closed.append, LATE_S)
    assert sorted(closed) == list(range(3 * MAX_THREADS + 1))


def test_close_that_lingers_is_interrupted(interrupts: list[int]) -> None:
    """All of them together would wait for 40 seconds."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        full = []
        for _ in range(2 * MAX_THREADS):
            full.append(stack.enter_context(socket.create_connection(server.getsockname())))
            stack.enter_context(server.accept()[0])
            full[-1].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            full[-1].setblocking(False)
        # The kernel passes on what it can, also after the first refusal. The close lingers for the rest.
        while writable := select.select([], full, [], 0.2)[1]:
            for near in writable:
                with suppress(BlockingIOError):
                    near.send(b"x" * 65536)
        for near in full:
            near.setblocking(True)  # a socket that does not block does not linger
            near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 20))
        fds = [near.detach() for near in full]
        ParallelClose().close(fds, _close, SOON_S)
        assert interrupts
        for fd in fds:
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(fd)


def _close(fd: int) -> None:
    with suppress(OSError):
        os.close(fd)


def test_without_a_thread_the_files_are_closed_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_thread, "start_new_thread", refuse)
    closed: list[int] = []
    ParallelClose().close([3, 4], closed.append, LATE_S)
    assert closed == [3, 4]
