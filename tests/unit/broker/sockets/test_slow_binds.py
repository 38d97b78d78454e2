"""A person whose binds are slow has a thread of its own for a while."""

from __future__ import annotations

import os
import queue
import threading
import time
import warnings
from collections.abc import Iterator

import pytest

from nsbrokerd.sockets import slow_binds
from nsbrokerd.sockets.credentials import Credentials
from nsbrokerd.sockets.slow_binds import (
    BUDGET_S,
    BUDGET_SHARE,
    LONG_S,
    MAX_SOCKETS,
    Errand,
    SlowBinds,
    TooManySlowError,
    Usage,
    usage,
)
from support.waiting import wait_until

ANN, BEN, CAT = 1, 2, 3
LIMIT_S = 60


class Clock:
    """Time that only a test passes."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def slow(clock: Clock) -> SlowBinds:
    return SlowBinds(Credentials(), max_threads=2, clock=clock)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Lets the work go on that `wait_at` has begun."""
    event = threading.Event()
    yield event
    event.set()


def wait_at(gate: threading.Event, names: queue.SimpleQueue[str] | None = None) -> object:
    def work(_errand: Errand) -> None:
        if names is not None:
            names.put(threading.current_thread().name)
        gate.wait(LIMIT_S)

    return work


def end(errand: Errand) -> None:
    """Wait until an errand is done."""
    done = threading.Event()
    errand.when_done(done.set)
    assert done.wait(LIMIT_S)


def test_person_is_slow_for_a_while_and_only_that_person(slow: SlowBinds, clock: Clock) -> None:
    slow.note(ANN)
    assert (slow.is_slow(ANN), slow.is_slow(BEN)) == (True, False)
    clock.now += slow_binds._FIRST_S
    assert not slow.is_slow(ANN)


def test_relapse_takes_twice_as_long_and_is_forgiven_in_the_end(slow: SlowBinds, clock: Clock) -> None:
    """So a person can make the main thread wait ever more seldom."""
    times = []
    for _ in range(12):
        slow.note(ANN)
        began = clock.now
        while slow.is_slow(ANN):
            clock.now += slow_binds._FIRST_S / 2
        times.append(clock.now - began)
    assert times[:3] == [1, 2, 4]
    assert times[-1] == slow_binds._LONGEST_S
    clock.now += slow_binds._MEMORY * slow_binds._LONGEST_S + 1
    slow.note(ANN)
    clock.now += slow_binds._FIRST_S
    assert not slow.is_slow(ANN)


def test_long_call_only_makes_its_person_a_suspect(slow: SlowBinds, clock: Clock) -> None:
    """Another process may have had the processor meanwhile. So nobody is sent to a thread for a busy machine."""
    slow.judge(ANN, BUDGET_S / 2, None)
    assert (slow.is_slow(ANN), slow.is_suspect(ANN), slow.is_suspect(BEN)) == (False, True, False)
    for _ in range(10):
        slow.judge(ANN, 1.0, Usage(BUDGET_S / 50, 0))
        assert not slow.is_slow(ANN)
    clock.now += 2 * BUDGET_S / BUDGET_SHARE
    assert not slow.is_suspect(ANN)


@pytest.mark.parametrize("used", [Usage(2 * LONG_S, 0), Usage(0.0, 1)])
def test_suspect_whose_calls_work_or_sleep_for_long_is_slow(slow: SlowBinds, used: Usage) -> None:
    """Also in the long run, if they take more than a small share of the time."""
    for _ in range(int(BUDGET_S / LONG_S)):
        slow.judge(ANN, 2 * LONG_S, used)
    assert slow.is_slow(ANN)


def test_budget_grows_with_time(slow: SlowBinds, clock: Clock) -> None:
    for _ in range(100):
        slow.judge(ANN, LONG_S, Usage(LONG_S, 0))
        clock.now += 2 * LONG_S / BUDGET_SHARE
    assert not slow.is_slow(ANN)
    for _ in range(100):
        slow.judge(ANN, LONG_S, Usage(LONG_S, 0))
        clock.now += LONG_S / BUDGET_SHARE / 2
    assert slow.is_slow(ANN)


def test_very_slow_call_counts_at_once(slow: SlowBinds) -> None:
    slow.judge(ANN, 1.1 * BUDGET_S, None)
    assert slow.is_slow(ANN)


def test_person_is_slow_again_at_the_first_long_call_after_its_thread(slow: SlowBinds, clock: Clock) -> None:
    slow.judge(ANN, 1.0, None)
    clock.now += slow_binds._FIRST_S
    assert (slow.is_slow(ANN), slow.is_suspect(ANN)) == (False, True)
    slow.judge(ANN, 1.0, Usage(2 * LONG_S, 0))
    assert slow.is_slow(ANN)


def test_call_that_only_waited_in_the_thread_does_not_keep_its_person_there(slow: SlowBinds, clock: Clock) -> None:
    """Not even a person that has a debt and many relapses."""
    for _ in range(8):
        slow.note(ANN)
        while slow.is_slow(ANN):
            clock.now += slow_binds._FIRST_S
    slow.judge(ANN, BUDGET_S, None)
    slow.judge(ANN, 10.0, Usage(10.0, 0))
    clock.now += 10 / BUDGET_SHARE - 1
    assert slow.is_slow(ANN)
    slow.judge_in_thread(ANN, Usage(LONG_S / 2, 3))
    clock.now += 1
    assert not slow.is_slow(ANN)


@pytest.mark.parametrize("call_s", [0.03, 1.0, 10.0])
@pytest.mark.parametrize("pause_s", [0.5, 2.0, 10.0, 50.0, 200.0])
@pytest.mark.parametrize("also_in_thread", [True, False])
def test_long_calls_take_a_small_share_of_the_main_threads_time(
    slow: SlowBinds, clock: Clock, *, call_s: float, pause_s: float, also_in_thread: bool
) -> None:
    """However long they are, and however long their person pauses between them."""
    began, in_main_s = clock.now, 0.0
    for _ in range(2000):
        if not slow.is_slow(ANN):
            in_main_s += call_s
            clock.now += call_s
            slow.judge(ANN, call_s, Usage(call_s, 0) if slow.is_suspect(ANN) else None)
        elif also_in_thread:
            slow.judge_in_thread(ANN, Usage(call_s, 0))
        clock.now += pause_s
    # The first call may be slow by chance, and the budget is full then.
    assert in_main_s <= 2 * call_s + BUDGET_S + BUDGET_SHARE * (clock.now - began)


def test_first_long_call_is_forgiven_soon_however_long_it_was(slow: SlowBinds, clock: Clock) -> None:
    """The machine may have stood still. Until that is clear, calls of the person are looked at."""
    slow.judge(ANN, 1.0, None)
    clock.now += slow_binds._FIRST_S
    assert not slow.is_slow(ANN)
    for _ in range(50):
        clock.now += 1
        slow.judge(ANN, 1.0, Usage(LONG_S, 0))
        assert (slow.is_slow(ANN), slow.is_suspect(ANN)) == (False, True)
    clock.now += 1.1 / BUDGET_SHARE
    assert not slow.is_suspect(ANN)


def test_debt_is_paid_back_before_a_person_binds_in_the_main_thread_again(slow: SlowBinds, clock: Clock) -> None:
    """Later calls that take little do not shorten the time."""
    slow.judge(ANN, BUDGET_S, None)
    slow.judge(ANN, 1.0, Usage(1.0, 0))
    clock.now += 1
    slow.judge_in_thread(ANN, Usage(2 * BUDGET_S, 0))
    clock.now += 0.99 / BUDGET_SHARE - 1
    assert slow.is_slow(ANN)
    clock.now += 0.01 / BUDGET_SHARE
    assert not slow.is_slow(ANN)


def test_in_a_thread_only_the_processor_counts(slow: SlowBinds) -> None:
    """There, a call also sleeps until the main thread lets go of the interpreter."""
    slow.judge_in_thread(ANN, Usage(0.0, 5))
    assert not slow.is_slow(ANN)
    slow.judge_in_thread(ANN, Usage(1.1 * BUDGET_S, 0))
    assert slow.is_slow(ANN)


def test_number_of_budgets_is_bounded(slow: SlowBinds) -> None:
    """The one that has least left stays."""
    slow.judge(ANN, BUDGET_S / 2, None)
    for person in range(BEN, 2 * slow_binds._MAX_REMEMBERED):
        slow.judge(person, 2 * LONG_S, None)
    assert len(slow._budgets) <= slow_binds._MAX_REMEMBERED
    assert slow.is_suspect(ANN)


def test_usage_tells_work_and_sleep() -> None:
    before = usage()
    time.sleep(0.001)
    slept = usage()
    assert slept.sleeps > before.sleeps
    while usage().cpu_s - slept.cpu_s <= LONG_S:
        pass


def test_person_that_stays_slow_stays_in_its_thread(slow: SlowBinds, clock: Clock) -> None:
    for _ in range(10):
        slow.note(ANN)
        clock.now += slow_binds._FIRST_S * 0.9
        assert slow.is_slow(ANN)


def test_number_of_remembered_persons_is_bounded(slow: SlowBinds) -> None:
    for person in range(2 * slow_binds._MAX_REMEMBERED):
        slow.note(person)
    assert len(slow._slow) <= slow_binds._MAX_REMEMBERED


def test_each_person_has_one_thread(slow: SlowBinds, gate: threading.Event) -> None:
    names: queue.SimpleQueue[str] = queue.SimpleQueue()
    gate.set()
    for person in (ANN, BEN, ANN):
        end(slow.send(person, wait_at(gate, names), 1))  # type: ignore[arg-type]
    assert [names.get(timeout=LIMIT_S) for _ in range(3)] == ["binds of 1", "binds of 2", "binds of 1"]


def test_error_of_the_work_is_that_of_its_result(slow: SlowBinds) -> None:
    def fail(_errand: Errand) -> None:
        raise OSError("no")

    errand = slow.send(ANN, fail, 1)
    end(errand)
    with pytest.raises(OSError, match="no"):
        errand.result()


def test_sockets_that_wait_for_a_thread_are_bounded(slow: SlowBinds, gate: threading.Event) -> None:
    """Also those of requests that were abandoned. Another person is not concerned."""
    slow.send(ANN, wait_at(gate), MAX_SOCKETS).abandon(lambda: None)  # type: ignore[arg-type]
    with pytest.raises(TooManySlowError, match="too many sockets of yours"):
        slow.send(ANN, wait_at(gate), 1)  # type: ignore[arg-type]
    slow.send(BEN, wait_at(gate), 1)  # type: ignore[arg-type]


def test_sockets_of_all_persons_that_wait_are_bounded(slow: SlowBinds, gate: threading.Event) -> None:
    """The first ones of each person always find room."""
    slow.send(ANN, wait_at(gate), MAX_SOCKETS)  # type: ignore[arg-type]
    slow.send(BEN, wait_at(gate), 253)  # type: ignore[arg-type]
    slow.send(BEN, wait_at(gate), 253)  # type: ignore[arg-type]
    with pytest.raises(TooManySlowError, match="too many sockets"):
        slow.send(BEN, wait_at(gate), 1)  # type: ignore[arg-type]


def test_threads_that_work_are_bounded_and_those_that_do_not_make_room(slow: SlowBinds, gate: threading.Event) -> None:
    other_gate = threading.Event()
    first = slow.send(ANN, wait_at(other_gate), 1)  # type: ignore[arg-type]
    slow.send(BEN, wait_at(gate), 1)  # type: ignore[arg-type]
    with pytest.raises(TooManySlowError, match="too many users"):
        slow.send(CAT, wait_at(gate), 1)  # type: ignore[arg-type]
    other_gate.set()
    end(first)
    wait_until(lambda: not slow._lanes[ANN].sockets)
    slow.send(CAT, wait_at(gate), 1)  # type: ignore[arg-type]
    assert set(slow._lanes) == {BEN, CAT}


def test_thread_without_work_ends(slow: SlowBinds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_binds, "_IDLE_S", 0.001)
    end(slow.send(ANN, lambda _errand: None, 1))
    wait_until(lambda: not slow._lanes)


def test_sockets_of_an_abandoned_request_are_closed_when_the_thread_has_left_them(
    slow: SlowBinds, gate: threading.Event
) -> None:
    """Otherwise the thread could bind another socket that got the same number."""
    names: queue.SimpleQueue[str] = queue.SimpleQueue()
    errand = slow.send(ANN, wait_at(gate), 1)  # type: ignore[arg-type]
    errand.abandon(lambda: names.put(threading.current_thread().name))
    assert names.empty()
    gate.set()
    assert names.get(timeout=LIMIT_S) == "binds of 1"


@pytest.mark.parametrize("hook_fails", [False, True])
def test_thread_goes_on_if_a_callback_fails(
    slow: SlowBinds, gate: threading.Event, hook_fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise later errands would wait in a queue that no thread reads. Standard error has the exception."""
    told: list[object] = []

    def tell(args: threading.ExceptHookArgs) -> None:
        told.append((str(args.exc_value), args.thread and args.thread.name))
        if hook_fails:
            raise OSError("the disk is full")

    def fail() -> None:
        raise OSError("close failed")

    monkeypatch.setattr(threading, "excepthook", tell)
    slow.send(ANN, wait_at(gate), 1).abandon(fail)  # type: ignore[arg-type]
    following = slow.send(ANN, lambda _errand: None, 1)
    gate.set()
    end(following)
    end(slow.send(ANN, lambda _errand: None, 1))
    assert told == [("close failed", "binds of 1")]


def test_process_ends_if_a_thread_starts_with_other_rights(slow: SlowBinds) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads: the child uses none of theirs
        pid = os.fork()
    if not pid:
        try:
            slow._credentials.uid += 1
            end(slow.send(ANN, lambda _errand: None, 1))
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 70
