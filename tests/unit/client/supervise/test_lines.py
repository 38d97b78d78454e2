"""The lines of a supervisor: each is written once, and some only if they still matter."""

from __future__ import annotations

import os
import select

from nsbroker.supervise.lines import Lines


def is_readable(fd: int) -> bool:
    return bool(select.select([fd], [], [], 0)[0])


def test_each_line_is_written_once_and_not_too_many() -> None:
    said: list[str] = []
    lines = Lines(said.append)
    for number in (1, 1, *range(100)):
        lines.say(str(number))
    assert said[:2] == ["1", "0"]
    assert (len(said), len(set(said))) == (64, 64)
    assert not lines.is_new("another")
    os.close(lines.wake)


def test_held_line_is_written_when_it_is_released() -> None:
    said: list[str] = []
    lines = Lines(said.append)
    assert (is_readable(lines.wake), lines.has_held()) == (False, False)
    lines.hold_back("one")
    lines.hold_back("one")
    assert is_readable(lines.wake)
    lines.sleep()
    lines.sleep()
    assert (is_readable(lines.wake), lines.has_held(), said) == (False, True, [])
    lines.release()
    lines.hold_back("one")
    assert (lines.has_held(), said) == (False, ["one"])
    os.close(lines.wake)


def test_dropped_line_may_be_held_again() -> None:
    said: list[str] = []
    lines = Lines(said.append)
    lines.hold_back("one")
    lines.drop_held()
    lines.release()
    assert said == []
    lines.hold_back("one")
    lines.release()
    assert said == ["one"]
    os.close(lines.wake)
