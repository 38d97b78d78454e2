"""The arithmetic of the attacks: ratios, percentiles, goals, and the table of them."""

from __future__ import annotations

import pytest

from attack.attack import Attack, Orders, Target
from attack.looks import Look
from attack.registry import ATTACKS
from attack.table import as_text, missed, missed_quotas
from attack.trial import ATTACK, QUIET, SPIN, Outcome, median_ms, percentile_ms, ratio
from attack.victim import Samples, Times


def _never(_target: Target, _number: int, _orders: Orders) -> None:
    raise AssertionError


def outcome_of(attacked: float, reference: float = 0.001, *, held: int = 0, most_held: int | None = None) -> Outcome:
    """Return the outcome of three rounds in which all requests took the same time."""
    attack = Attack("test", "", _never, 2, "steps", "things", most_held)
    made = Outcome(attack, "this one", attacked_s=3.0, steps=6, back_s=0.1)
    for phase, seconds in ((QUIET, reference), (SPIN, reference), (ATTACK, attacked)):
        for _ in range(3):
            made.samples[phase].append(Samples(Times([seconds] * 10, []), Times([seconds] * 10, [])))
    made.before = made.after = Look(30_000, 10, 1)
    made.peak = Look(31_000, 20, 2, held)
    return made


def test_figures_of_several_rounds() -> None:
    """One slow round changes neither the median nor the ratio, and an empty one counts as infinitely slow."""
    rounds, reference = [[0.002] * 5, [0.9] * 5, [0.002] * 5], [[0.001] * 5] * 3
    assert median_ms(rounds) == 2
    assert ratio(rounds, reference) == 2
    assert ratio([[], [], [0.001]], reference) == float("inf")
    assert percentile_ms([[number / 1000 for number in range(100)]]) == 99
    assert percentile_ms([[]]) == median_ms([[]]) == float("inf")


def test_goals_that_are_reached() -> None:
    assert not missed(outcome_of(0.002))


@pytest.mark.parametrize(("attacked", "reference", "message"), [(0.0021, 0.001, "2.1x"), (0.051, 0.05, "99 % 51 ms")])
def test_slow_victim_misses_the_goals_of_both_kinds(attacked: float, reference: float, message: str) -> None:
    assert missed(outcome_of(attacked, reference)) == [
        f"{kind}: {message}" for kind in ("open connection", "new connections")
    ]


def test_refused_victim_misses_a_goal() -> None:
    outcome = outcome_of(0.001)
    outcome.samples[ATTACK][1].new.failures.append("overloaded")
    assert missed(outcome) == ["new connections: 1 refused"]
    for samples in outcome.samples[ATTACK]:
        samples.new.seconds.clear()
    assert missed(outcome) == ["new connections: never served", "new connections: 1 refused"]


def test_broker_that_is_not_as_before_misses_a_goal() -> None:
    outcome = outcome_of(0.001)
    outcome.back_s = None
    outcome.after = Look(60_000, 11, 1)
    assert missed(outcome) == ["not as before", "memory grew"]


def test_quota_that_was_passed_misses_a_goal() -> None:
    assert not missed_quotas(outcome_of(0.001, held=5, most_held=5))
    assert missed(outcome_of(0.001, held=6, most_held=5)) == ["6 things, more than 5"]
    assert missed_quotas(outcome_of(0.001, held=1, most_held=0))


def test_rows_name_the_version_only_if_there_are_several() -> None:
    one, other = outcome_of(0.001), outcome_of(0.003)
    other.version = "old"
    assert "| test " in as_text([one])
    text = as_text([one, other])
    assert "| test, this one " in text
    assert "| test, old " in text
    assert "| reached" in text
    assert "missed: open connection: 3x" in text


def test_each_attack_has_a_name_of_its_own_and_explains_itself() -> None:
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)
    for attack in ATTACKS:
        assert "Now " in attack.about, f"{attack.name}: which defence holds?"
        assert attack.name == attack.name.strip() != ""
