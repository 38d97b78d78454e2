"""A turn costs its user the time that the broker needed for it, not the time of other processes."""

from __future__ import annotations

from nsbrokerd.serving.turn_time import LONG_S, TurnTime, Usage, read_usage


def time_of(took: float, *usages: Usage) -> float:
    """Correct the time of a turn. The usages are those before and after it."""
    return TurnTime(iter(usages).__next__).correct(took)


def test_short_turn_counts_as_it_is() -> None:
    """And the kernel is not asked."""
    assert time_of(LONG_S / 2, Usage(0, 0)) == LONG_S / 2


def test_time_that_the_broker_slept_counts() -> None:
    """Others had to wait meanwhile, for example while it closed a socket."""
    assert time_of(1, Usage(5, 7), Usage(5.25, 7)) == 1


def test_time_of_other_processes_does_not_count() -> None:
    """The kernel took the broker off its processor."""
    assert time_of(1, Usage(5, 7), Usage(5.25, 8)) == 0.25


def test_turn_never_counts_more_than_it_took() -> None:
    """The usage can be that since an earlier turn."""
    assert time_of(1, Usage(5, 7), Usage(10, 8)) == 1


def test_look_begins_anew() -> None:
    usages = iter([Usage(5, 7), Usage(9, 8), Usage(9.5, 9)])
    turn_time = TurnTime(lambda: next(usages))
    turn_time.look()
    assert turn_time.correct(1) == 0.5


def test_usage_is_that_of_this_thread() -> None:
    before = read_usage()
    while read_usage().processor_s == before.processor_s:
        pass
    assert read_usage().interruptions >= before.interruptions
