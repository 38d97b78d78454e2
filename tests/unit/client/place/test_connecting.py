"""Happy eyeballs as a pure function: which attempt begins when, which one counts, and that all others are closed."""

from __future__ import annotations

import errno
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any

import pytest

from nsbroker import AccessDeniedError
from nsbroker.link.waiting import wait
from nsbroker.place.connecting import interleave, race

if TYPE_CHECKING:
    from nsbroker.link.waiting import Waiting

STAGGER_S = 0.25


class World:
    """A clock that moves only in waits, and attempts that record their fate."""

    def __init__(self) -> None:
        self.now = 0.0
        self.events: list[tuple[float, str]] = []

    async def attempt(self, name: str, seconds: float, result: object = None) -> Any:
        """Wait for a while, then return the result or raise it."""
        self.events.append((self.now, f"{name} begins"))
        try:
            assert await wait(self.now + seconds, ()) == ()
        except GeneratorExit:
            self.events.append((self.now, f"{name} is closed"))
            raise
        if isinstance(result, Exception):
            raise result
        return result or name

    def run(self, racing: Waiting[Any]) -> Any:
        try:
            deadline, _ = racing.send(None)
            while True:
                assert deadline < inf, "nothing would ever end this"
                self.now = max(self.now, deadline)
                deadline, _ = racing.send(())
        except StopIteration as end:
            return end.value

    def clock(self) -> float:
        return self.now


@pytest.fixture
def world() -> World:
    return World()


def refused() -> OSError:
    return ConnectionRefusedError(errno.ECONNREFUSED, "refused")


def test_first_attempt_alone_if_it_is_quick(world: World) -> None:
    """The second server is not disturbed."""
    attempts = [world.attempt("a", 0.2), world.attempt("b", 0.1)]
    assert world.run(race(attempts, STAGGER_S, clock=world.clock)) == "a"
    assert world.events == [(0.0, "a begins")]


def test_next_attempt_begins_beside_a_slow_one(world: World) -> None:
    """The quicker attempt wins, and the other one is closed at once."""
    attempts = [world.attempt("a", 9), world.attempt("b", 0.1), world.attempt("c", 0)]
    assert world.run(race(attempts, STAGGER_S, clock=world.clock)) == "b"
    assert world.events == [(0.0, "a begins"), (0.25, "b begins"), (0.35, "a is closed")]


def test_slow_attempt_still_counts(world: World) -> None:
    attempts = [world.attempt("a", 0.3), world.attempt("b", 9)]
    assert world.run(race(attempts, STAGGER_S, clock=world.clock)) == "a"
    assert world.events[-1] == (0.3, "b is closed")


def test_failure_lets_the_next_one_begin_at_once(world: World) -> None:
    attempts = [world.attempt("a", 0.1, refused()), world.attempt("b", 0.1)]
    assert world.run(race(attempts, STAGGER_S, clock=world.clock)) == "b"
    assert world.events == [(0.0, "a begins"), (0.1, "b begins")]


def test_without_stagger_one_comes_after_the_other(world: World) -> None:
    attempts = [world.attempt("a", 9, refused()), world.attempt("b", 9)]
    assert world.run(race(attempts, None, clock=world.clock)) == "b"
    assert world.events == [(0.0, "a begins"), (9.0, "b begins")]


def test_all_failures_are_told(world: World) -> None:
    attempts = [world.attempt(name, 0.1, OSError(name)) for name in "ab"]
    with pytest.raises(ExceptionGroup) as caught:
        world.run(race(attempts, STAGGER_S, clock=world.clock))
    assert [str(error) for error in caught.value.exceptions] == ["a", "b"]


def test_refusal_of_the_broker_ends_the_race(world: World) -> None:
    """That same exception is raised, and the other attempts are closed."""
    refusal = AccessDeniedError(errno.EACCES, "no grant")
    attempts = [world.attempt("a", 9), world.attempt("b", 0.1, refusal), world.attempt("c", 0)]
    with pytest.raises(AccessDeniedError):
        world.run(race(attempts, STAGGER_S, clock=world.clock))
    assert world.events[-1] == (0.35, "a is closed")


def test_interrupted_race_closes_all(world: World) -> None:
    racing = race([world.attempt("a", 9), world.attempt("b", 9)], STAGGER_S, clock=world.clock)
    racing.send(None)
    world.now = 0.25
    racing.send(())
    racing.close()
    assert world.events[2:] == [(0.25, "a is closed"), (0.25, "b is closed")]


def test_attempt_hears_of_its_own_sockets_alone() -> None:
    heard: list[object] = []

    async def attempt(number: Any) -> int:  # a number stands for a socket
        ready = await wait(inf, ((number, 1), (number, 4)))
        heard.append(ready)
        raise OSError(number)

    racing: Any = race([attempt(7), attempt(8)], 0)
    racing.send(None)
    _, sockets = racing.send(())
    assert sockets == ((7, 1), (7, 4), (8, 1), (8, 4))
    assert racing.send(((8, 4),)) == (inf, ((7, 1), (7, 4)))
    assert heard == [((8, 4),)]
    racing.close()


ORDERS: list[tuple[str, int, str]] = [
    ("6a 6b 4a 4b", 1, "6a 4a 6b 4b"),
    ("6a 6b 6c 4a", 2, "6a 6b 4a 6c"),
    ("4a 4b 6a", 1, "4a 6a 4b"),
    ("4a", 1, "4a"),
    ("4a 4b", 3, "4a 4b"),
    ("", 1, ""),
]


@pytest.mark.parametrize(("found", "first", "wanted"), ORDERS)
def test_families_take_turns(found: str, first: int, wanted: str) -> None:
    """After the given number of addresses of the first family."""
    make: Callable[[str], Any] = lambda name: (name[0], 1, 6, "", (name,))  # noqa: E731
    infos = [make(name) for name in found.split()]
    assert [info[4][0] for info in interleave(infos, first)] == wanted.split()
