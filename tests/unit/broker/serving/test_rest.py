"""The listener rests for a moment, and is served again after it."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator

import pytest

from nsbrokerd.serving.rest import Rest
from support.waiting import wait_until

LONG_S = 3600
LIMIT_S = 60


@pytest.fixture
def ready() -> Iterator[tuple[select.epoll, int]]:
    """An epoll with a descriptor that is always ready."""
    ours, others = socket.socketpair()
    with ours, others, select.epoll() as epoll:
        others.send(b"x")
        epoll.register(ours.fileno(), select.EPOLLIN)
        yield epoll, ours.fileno()


def test_descriptor_that_rests_is_not_served_and_then_it_is(ready: tuple[select.epoll, int]) -> None:
    epoll, fd = ready
    slept = threading.Event()
    rest = Rest(epoll, fd, lambda _: slept.wait(LIMIT_S))
    rest.begin(LONG_S)
    assert rest.is_on
    assert epoll.poll(0) == []
    slept.set()
    assert epoll.poll(LIMIT_S) == [(fd, select.EPOLLIN)]
    assert not rest.is_on
    rest.end()


def test_second_rest_during_the_first_one_changes_nothing(ready: tuple[select.epoll, int]) -> None:
    epoll, fd = ready
    times_s: list[float] = []
    rest = Rest(epoll, fd, times_s.append)
    rest.is_on = True
    rest.begin(1)
    rest.is_on = False
    rest.begin(2)
    wait_until(lambda: bool(epoll.poll(0)))
    rest.end()
    assert times_s == [2]


def test_without_a_thread_there_is_no_rest(ready: tuple[select.epoll, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing would end it."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    epoll, fd = ready
    rest = Rest(epoll, fd)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        rest.begin(LONG_S)
    assert not rest.is_on
    assert epoll.poll(0) == [(fd, select.EPOLLIN)]
    rest.end()
