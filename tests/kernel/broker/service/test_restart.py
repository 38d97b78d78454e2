"""The broker is killed in the middle of a load, and started again by its service manager, again and again."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from support.brokers.activated import ActivatedBroker
from support.brokers.load import Load
from support.brokers.process import EVERYTHING
from support.inside import cookie_inside
from support.waiting import wait_until

MOST_CALLS_BETWEEN = 60


@pytest.fixture
def activated() -> Iterator[ActivatedBroker]:
    broker = ActivatedBroker(EVERYTHING, "[quotas]\nrequests_per_second = 10000000\n")
    yield broker
    broker.close()


@pytest.mark.parametrize(("processes", "threads"), [(1, 1), (3, 3)], ids=["one thread", "threads and forked children"])
def test_clients_carry_on_over_kill_9(
    make_namespace: Callable[..., str],
    activated: ActivatedBroker,
    processes: int,
    threads: int,
    long: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No call fails, no request is answered twice, no socket is wrong, and no socket is left behind."""
    cookies = {name: cookie_inside(name) for name in [make_namespace() for _ in range(5)]}
    chance = random.Random(processes)
    kills = 60 if long else 6
    activated.start()
    with Load(activated, cookies, processes, threads) as load:
        for _ in range(kills):
            _wait_for_calls(load, chance.randint(1, MOST_CALLS_BETWEEN))
            activated.kill()
            activated.start()
        _wait_for_calls(load, MOST_CALLS_BETWEEN)
        calls = load.calls()
        arrived, lost = load.stop()
    with capsys.disabled():
        print(
            f"\nrestart: {kills} kills in {calls} calls by {processes * threads} threads in {processes} processes;"
            f" {arrived} sockets right, {lost} lost"
        )


def _wait_for_calls(load: Load, more: int) -> None:
    goal = load.calls() + more
    wait_until(lambda: load.calls() >= goal or load.failed())
