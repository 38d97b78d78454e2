"""The thread that makes sealed sockets: one job at a time, whatever signals come."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from nsbrokerd.seal.thread import SealedThread

CALLS = 3000


@pytest.fixture
def thread() -> Iterator[SealedThread]:
    made = SealedThread()
    yield made
    made.stop()


def test_job_runs_in_the_thread(thread: SealedThread) -> None:
    assert thread.call(threading.get_native_id) == thread.thread_id != threading.get_native_id()


def test_it_leaves_no_descriptor() -> None:
    """A reload tries whether limits can be enforced, by a thread like this one."""
    before = os.listdir("/proc/self/fd")
    SealedThread().stop()
    assert os.listdir("/proc/self/fd") == before


def test_error_of_a_job_is_the_callers(thread: SealedThread) -> None:
    """And the thread lives on."""
    with pytest.raises(ZeroDivisionError):
        thread.call(lambda: 1 // 0)
    assert thread.call(lambda: 5) == 5


def test_signals_do_not_confuse_it(thread: SealedThread) -> None:
    """The signals are for the main thread, which keeps waiting. Every caller gets the result of its own job."""
    seen: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda *_: seen.append(threading.get_native_id()))
    signal.setitimer(signal.ITIMER_REAL, 0.00005, 0.00005)
    try:
        assert [thread.call(lambda number=number: number) for number in range(CALLS)] == list(range(CALLS))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)  # a signal that no thread has taken yet would end the process
        signal.signal(signal.SIGALRM, before)
    assert set(seen) == {threading.get_native_id()}
