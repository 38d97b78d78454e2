"""Descriptors that can't be closed at once are closed in other threads, a bounded number for each user."""

from __future__ import annotations

import threading
from functools import partial
from queue import SimpleQueue

import pytest

from nsbrokerd.clients.closer import MAX_CONNECTION_LANES, MAX_LANES, MAX_PENDING_FOR_USER, Closer
from support.waiting import wait_until

LIMIT_S = 30


def test_descriptors_are_closed_in_another_thread() -> None:
    closed: SimpleQueue[tuple[int, str]] = SimpleQueue()
    closer = Closer(lambda fd: closed.put((fd, threading.current_thread().name)))
    closer.take_fds(1000, [7, 8])
    assert [closed.get(timeout=LIMIT_S) for _ in range(2)] == [(7, "closer"), (8, "closer")]


def test_a_user_whose_descriptors_hang_is_full_and_others_are_not() -> None:
    release = threading.Event()
    started = threading.Event()

    def hang(_fd: int) -> None:
        started.set()
        release.wait(LIMIT_S)

    closer = Closer(hang)
    closer.take_fds(1000, range(MAX_PENDING_FOR_USER))
    assert started.wait(LIMIT_S)
    assert closer.is_full(1000)
    assert not closer.is_full(1001)
    release.set()


def test_an_error_of_close_ends_nothing() -> None:
    closed: SimpleQueue[int] = SimpleQueue()

    def close(fd: int) -> None:
        closed.put(fd)
        if fd == 1:
            raise OSError(5, "flush failed")

    closer = Closer(close)
    closer.take_fds(1000, [1, 2])
    assert [closed.get(timeout=LIMIT_S) for _ in range(2)] == [1, 2]


def test_a_user_that_hangs_its_closer_hangs_nobody_elses() -> None:
    release = threading.Event()
    closed: SimpleQueue[int] = SimpleQueue()

    def close(fd: int) -> None:
        if fd == 1:
            release.wait(LIMIT_S)
        closed.put(fd)

    closer = Closer(close, close)
    closer.take_fds(1000, [1])
    closer.take_fds(1001, [2])
    closer.take_connection(1000, 3)
    assert {closed.get(timeout=LIMIT_S) for _ in range(2)} == {2, 3}
    release.set()
    assert closed.get(timeout=LIMIT_S) == 1


def test_connections_are_counted_until_they_are_closed() -> None:
    release = threading.Event()

    def drop(_fd: int) -> None:
        release.wait(LIMIT_S)

    closer = Closer(drop=drop)
    closer.take_connection(1000, 1)
    closer.take_connection(1001, 2)
    assert closer.connections == 2
    release.set()
    wait_until(lambda: closer.connections == 0)


def test_thread_that_can_not_be_started_is_started_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit of threads, descriptors stay open for a while, and the closer keeps working."""
    closed: SimpleQueue[int] = SimpleQueue()
    closer = Closer(closed.put)

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        closer.take_fds(1000, range(MAX_PENDING_FOR_USER + 1))
        closer.interrupt()
        assert closer.is_full(1000)
    assert closed.empty()
    closer.interrupt()
    assert [closed.get(timeout=LIMIT_S) for _ in range(MAX_PENDING_FOR_USER + 1)] == [*range(MAX_PENDING_FOR_USER + 1)]


def test_descriptors_of_many_users_that_hang_are_bounded_together() -> None:
    """One person can have thousands of user ids."""
    release = threading.Event()

    def hang(_fd: int) -> None:
        release.wait(LIMIT_S)

    closer = Closer(hang)
    for uid in range(MAX_LANES):
        assert not closer.is_full(uid)
        closer.take_fds(uid, [uid])
    assert closer.is_full(MAX_LANES)
    assert not closer.is_full(0)
    release.set()
    wait_until(lambda: not closer.is_full(MAX_LANES))


def test_connections_of_some_users_that_hang_keep_nobodys_descriptors_out() -> None:
    release = threading.Event()

    def hang(_fd: int) -> None:
        release.wait(LIMIT_S)

    closer = Closer(hang, hang)
    for fd in range(MAX_LANES * MAX_PENDING_FOR_USER):
        closer.take_connection(fd % 2, fd)
    assert not closer.is_full(2)
    release.set()


def test_many_connections_of_one_user_are_closed_side_by_side() -> None:
    """Each may take a grace period of the kernel's, which is over for all at once."""
    started: SimpleQueue[int] = SimpleQueue()
    release = threading.Event()

    def hang(_fd: int) -> None:
        started.put(threading.get_ident())
        release.wait(LIMIT_S)

    closer = Closer(hang, hang)
    for fd in range(2 * MAX_PENDING_FOR_USER):
        closer.take_connection(1000, fd)
    assert started.get(timeout=LIMIT_S) != started.get(timeout=LIMIT_S)
    release.set()


def test_user_whose_connections_hang_by_the_hundred_is_closed_without_courtesy() -> None:
    release = threading.Event()
    dropped: SimpleQueue[int] = SimpleQueue()
    closed: SimpleQueue[int] = SimpleQueue()

    def into(queue: SimpleQueue[int], fd: int) -> None:
        release.wait(LIMIT_S)
        queue.put(fd)

    count = (MAX_PENDING_FOR_USER + 2) * MAX_CONNECTION_LANES
    closer = Closer(partial(into, closed), partial(into, dropped))
    for fd in range(count):
        closer.take_connection(1000, fd)
    assert closer.connections == count
    release.set()
    wait_until(lambda: closer.connections == 0)
    assert closed.qsize() >= MAX_CONNECTION_LANES
    assert {queue.get() for queue in (closed, dropped) for _ in range(queue.qsize())} == set(range(count))
