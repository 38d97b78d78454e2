"""Turns go to the account that has used the least time."""

from __future__ import annotations

from collections import Counter

from nsbrokerd.serving.turns import Turns

LONG_S, SHORT_S = 5.0, 0.001


class Holder:
    """An account that is its own holder."""

    def __init__(self, turn_s: float = SHORT_S) -> None:
        self.used_s = 0.0
        self.turn_s = turn_s
        self.account = self


def give_turn(turns: Turns, *ready: Holder) -> Holder:
    """Give a turn to the first of those that are ready."""
    first = turns.first(ready)
    turns.charge(first, first.turn_s)
    return first


def test_of_equal_accounts_the_one_that_is_named_first_has_the_turn() -> None:
    first, second = Holder(), Holder()
    turns = Turns()
    assert turns.first([first, second]) is first
    assert turns.first([second, first]) is second


def test_long_turns_are_paid_with_as_many_short_ones_of_others() -> None:
    """Both use the same time in the end."""
    turns, slow, quick = Turns(), Holder(LONG_S), Holder(SHORT_S)
    served = Counter(give_turn(turns, slow, quick) for _ in range(5002))
    assert served == {slow: 2, quick: 5000}


def test_account_that_was_away_comes_first_but_not_for_longer() -> None:
    """It can't save up time while it asks for nothing."""
    turns, busy, away = Turns(), Holder(), Holder()
    for _ in range(1000):
        give_turn(turns, busy)
    order = [give_turn(turns, busy, away) for _ in range(6)]
    assert order[0] is away
    assert Counter(order) == {busy: 3, away: 3}


def test_account_that_was_alone_owes_nothing_to_one_that_comes() -> None:
    """Nobody else needed the time that it used."""
    turns, busy, new = Turns(), Holder(), Holder()
    for _ in range(1000):
        give_turn(turns, busy)
    order = [give_turn(turns, busy, new) for _ in range(4)]
    assert busy in order[:3]


def test_each_of_a_crowd_has_one_turn_before_an_account_that_is_there() -> None:
    turns, old = Turns(), Holder()
    give_turn(turns, old)
    crowd = [Holder() for _ in range(10)]
    order = [give_turn(turns, old, *crowd) for _ in range(11)]
    assert set(order) == {*crowd, old}


def test_account_that_asks_now_and_then_is_not_behind_those_that_always_do() -> None:
    """It uses less than its share, so each of its turns comes at once."""
    turns, busy, modest = Turns(), [Holder(LONG_S) for _ in range(5)], Holder(SHORT_S)
    for number in range(100):
        asks = number % 10 == 9
        ready = [*busy, modest] if asks else busy
        assert (give_turn(turns, *ready) is modest) == asks
