"""SIGINT at any moment, thousands of times: no socket is ever made in a wrong namespace, or for a wrong user."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable

import pytest

from nsbrokerd.namespaces import netns
from nsbrokerd.sockets import credentials
from support.brokers.interrupted import (
    CALLS,
    CAUGHT,
    INSIDE,
    SIGNALS,
    Harness,
    run_as_the_broker_does,
    run_under_fire,
    run_unprotected,
)
from support.brokers.load import Load
from support.brokers.process import EVERYTHING, BrokerProcess
from support.inside import cookie_inside, path_of
from support.waiting import LIMIT_S, Counters, wait_until

MOST_CALLS_BETWEEN = 60
FAIL_CLOSED = (credentials.EXIT_STATUS, netns.EXIT_STATUS)


def test_interrupt_never_leaves_the_opener_elsewhere(
    make_namespace: Callable[..., str], long: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    """As the broker runs it, the thread is at home, root, and able after each call, whenever SIGINT comes."""
    paths = [path_of(make_namespace()) for _ in range(2)]
    counters = Counters(4)
    wanted = 20_000 if long else 2_000

    def run(ready: Callable[[], None]) -> None:
        run_as_the_broker_does(Harness(paths, counters), lambda: counters[CAUGHT] >= wanted, ready)

    status = run_under_fire(run)
    _tell("as the broker runs it", counters, 0, capfd)
    assert status == 0
    assert counters[INSIDE] > 0


def test_unprotected_opener_ends_rather_than_stay_elsewhere(
    make_namespace: Callable[..., str], long: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    """With KeyboardInterrupt raised anywhere within a call, the process goes on as it was, or not at all."""
    paths = [path_of(make_namespace()) for _ in range(2)]
    counters = Counters(4)
    wanted = 20_000 if long else 1_000
    ended = 0

    def run(ready: Callable[[], None]) -> None:
        run_unprotected(Harness(paths, counters), lambda: counters[CAUGHT] >= wanted, ready)

    while (status := run_under_fire(run)) != 0:
        ended += 1
        _tell("unprotected", counters, ended, capfd) if status not in FAIL_CLOSED else None
        assert status in FAIL_CLOSED
    _tell("unprotected", counters, ended, capfd)
    assert counters[INSIDE] > 0


def _tell(how: str, counters: Counters, ended: int, capfd: pytest.CaptureFixture[str]) -> None:
    with capfd.disabled():
        print(
            f"\ninterrupts, {how}: {counters[SIGNALS]}, of which {counters[CAUGHT]} within {counters[CALLS]} calls and"
            f" {counters[INSIDE]} in another namespace; {ended} times it ended rather than go on"
        )


def test_broker_under_load_ends_cleanly_by_interrupt(
    make_namespace: Callable[..., str],
    start_broker: Callable[..., BrokerProcess],
    long: bool,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """SIGINT in the middle of a load, and again while it stops: status 0, and whatever was delivered is right."""
    cookies = {name: cookie_inside(name) for name in [make_namespace() for _ in range(5)]}
    chance = random.Random(0)
    interrupts = 100 if long else 8
    broker = start_broker(EVERYTHING, "[quotas]\nrequests_per_second = 10000000\n")
    with Load(broker, cookies, processes=2, threads=2) as load:
        for _ in range(interrupts):
            goal = load.calls() + chance.randint(1, MOST_CALLS_BETWEEN)
            wait_until(lambda goal=goal: load.calls() >= goal or load.failed())
            os.kill(broker.pid, signal.SIGINT)
            broker.wait_for("STOPPING=1", LIMIT_S)
            broker.stop(signal.SIGINT)
            broker.start()
        calls = load.calls()
        arrived, lost = load.stop()
    with capfd.disabled():
        print(f"\ninterrupts, the broker: {interrupts} in {calls} calls; {arrived} sockets right, {lost} lost")
