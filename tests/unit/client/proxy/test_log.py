"""The lines of the proxy are bounded, and none is said twice in a minute."""

from __future__ import annotations

import os

from nsbroker.proxy.log import Log, can_be_written


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_same_line_is_said_once_a_minute() -> None:
    said: list[str] = []
    clock = Clock()
    log = Log(said.append, clock)
    for _ in range(3):
        log("a")
        clock.now += 15
    assert said == ["a"]
    clock.now += 30
    log("a")
    assert said == ["a", "a"]


def test_too_many_lines_are_left_out_and_one_says_so() -> None:
    said: list[str] = []
    clock = Clock()
    log = Log(said.append, clock)
    for number in range(100):
        log(f"line {number}")
    assert said == [*(f"line {number}" for number in range(20)), "more than 20 lines in 10 s: leaving out the others"]
    clock.now += 11
    log("later")
    assert said[-1] == "later"


def test_long_line_is_cut() -> None:
    said: list[str] = []
    Log(said.append, Clock())("x" * 5000)
    assert said == ["x" * 1000]


def test_full_pipe_can_not_be_written() -> None:
    reader, writer = os.pipe()
    assert can_be_written(writer)
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, bytes(4096))
    except BlockingIOError:
        assert not can_be_written(writer)
    finally:
        os.close(reader)
        os.close(writer)
