"""A thread's driver tells of a long wait: once in each call, and only if it was one."""

from __future__ import annotations

import socket
from time import monotonic

import pytest

from nsbroker.drivers import thread
from nsbroker.link.waiting import READ, wait


async def pauses(count: int) -> int:
    for _ in range(count):
        await wait(monotonic() + 0.001, ())
    return count


async def reads(sock: socket.socket, deadline: float) -> bool:
    return bool(await wait(deadline, ((sock, READ),)))


def test_long_wait_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waits of one call count together."""
    monkeypatch.setattr(thread, "_PATIENCE_S", 0)
    told: list[None] = []
    assert thread.run(pauses(3), lambda: told.append(None)) == 3
    assert len(told) == 1


def test_wait_for_a_socket_goes_on_after_it_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread, "_PATIENCE_S", 0)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert thread.run(reads(ours, monotonic() + 60), lambda: theirs.send(b"x")) is True
        ours.recv(1)
        assert thread.run(reads(ours, monotonic()), lambda: None) is False


def test_short_wait_is_not_told() -> None:
    told: list[None] = []
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.send(b"x")
        assert thread.run(reads(ours, monotonic() + 60), lambda: told.append(None))
    assert not told
