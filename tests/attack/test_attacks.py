"""Under each attack the victim is served, the attackers stay within their quotas, and the broker is as before after."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable

import pytest

from attack.arena import VICTIM, Arena, arena, why_not
from attack.attack import ATTACKER, Attack
from attack.looks import Peaks, look, look_at_idle, size_of_records, watching, written
from attack.registry import ATTACKS
from attack.table import GROWTH_KIB, SLACK_S, missed_quotas
from attack.trial import ATTACK, Outcome, attacking, settled
from attack.victim import Victim, ask_until_served
from nsbrokerd.service.line_quota import MOST_FOR_USER
from support.waiting import wait_until

SERVED = 20
"""Requests of the victim on its connection, and as many by new ones."""

SERVED_S = 120
ATTACK_S = 300
BACK_S = 120
"""Generous: they only end a test that fails."""


def accepting_never_paused(place: Arena, _: Outcome) -> None:
    assert "can't accept clients" not in place.broker.log()


def half_of_the_descriptors(_: Arena, outcome: Outcome) -> None:
    assert outcome.peak.descriptors <= resource.getrlimit(resource.RLIMIT_NOFILE)[1] // 2


def few_lines_in_the_log(place: Arena, outcome: Outcome) -> None:
    """Each second, the log has a line with the number of connections."""

    def of_attacker() -> int:
        return sum(json.loads(line).get("uid") == ATTACKER for line in place.broker.log().splitlines())

    wait_until(lambda: of_attacker() > 0)
    assert of_attacker() <= (MOST_FOR_USER + 1) * (outcome.attacked_s + SLACK_S)


BOUNDS: dict[str, Callable[[Arena, Outcome], None]] = {
    "slow closes": accepting_never_paused,
    "waiting requests of 700 users": half_of_the_descriptors,
    "connections past the quota": few_lines_in_the_log,
}
"""The bounds of single attacks, besides their quotas."""


@pytest.mark.parametrize("attack", ATTACKS, ids=[attack.name.replace(" ", "-") for attack in ATTACKS])
def test_victim_is_served_and_the_broker_is_as_before_after(attack: Attack) -> None:
    if reason := why_not() or attack.why_not():
        pytest.skip(reason)
    with arena(attack, is_brief=True) as place:
        outcome = attack_until_served(attack, place)
        [(kept, new)] = outcome.samples[ATTACK]
        assert not kept.failures
        assert not new.failures
        assert (len(kept.seconds), len(new.seconds)) == (SERVED, SERVED)
        assert outcome.steps
        assert not missed_quotas(outcome)
        if (bound := BOUNDS.get(attack.name)) is not None:
            bound(place, outcome)
        assert settled(place, outcome.before, BACK_S), (outcome.before, look(place.broker))
        assert look(place.broker).resident_kib <= outcome.before.resident_kib + GROWTH_KIB


def attack_until_served(attack: Attack, place: Arena) -> Outcome:
    """Attack until the victim has been served often enough."""
    with victim_of(place) as victim:  # fills the caches of the broker
        victim.ask(SERVED_S)
    outcome = Outcome(attack, "this one", before=look_at_idle(place.broker))
    files, peaks, began = written(place.broker), Peaks(), time.monotonic()
    with (
        victim_of(place) as victim,
        attacking(attack, place, ATTACK_S) as orders,
        watching(place.broker, peaks, orders),
    ):
        outcome.samples[ATTACK].append(victim.ask(SERVED_S))
        wait_until(lambda: orders.steps > 0)
        outcome.steps = orders.steps
    outcome.attacked_s = time.monotonic() - began
    outcome.written_bytes = size_of_records(place.broker, files, but_of=VICTIM)
    outcome.peak = peaks.most
    return outcome


def victim_of(place: Arena) -> Victim:
    return Victim(VICTIM, ask_until_served, place.target.path, place.namespace, SERVED, SERVED_S / 2)
