"""Persons whose calls of bind(2) and listen(2) take long, and one thread for each of them.

To bind a port, the kernel may look at every socket of that port. A client chooses the port, and can hold thousands of
such sockets, so one call can take a second. The first slow call of a person can't be foreseen. But then the person's
calls are made in a thread of its own for a while, and delay the person alone. Such a thread never enters a namespace: a
socket has its namespace already. Source: inet_csk_get_port in net/ipv4/inet_connection_sock.c.

A usual call can take long as well: another process gets the processor in the middle of it, or the kernel does other
work at its end, such as freeing sockets that were closed long ago. A thread would not help then, and a hop to it costs
more than the call. So each person has a small budget of time for long calls, which fills up again. A person whose
budget is not full is a suspect. If a call of a suspect did not sleep, only its time on the processor counts.

Nobody can tell whether the first long call of a person was slow by chance. So it costs the budget little, but makes the
person a suspect for as long as the budget takes to grow by its whole time. A long call of a suspect is the person's
own. If it takes more than the budget has, the person's calls are made in its thread until the rest is paid back, too.
So in the long run, long calls take at most the share by which the budget grows of the main thread's time.
"""

from __future__ import annotations

import contextlib
import math
import resource
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import NamedTuple

from .credentials import Credentials

LONG_S = 0.0003
"""A call that takes longer is long. A hop to a thread and back takes 35 us, and a usual call 2 us."""

BUDGET_S = 0.01
"""The time that long calls of a person may take in the main thread before the person counts as slow."""
BUDGET_SHARE = 0.01
"""The budget grows by this share of the time that passes."""

_FIRST_S = 1.0
"""So long after a slow call, the calls of its person are made in a thread. Each relapse doubles this time. With a
debt, they are made there until it is paid."""
_LONGEST_S = 256.0
_MEMORY = 8
"""A slow call counts as a relapse until the person has been quick for this many times as long."""

_MAX_REMEMBERED = 1024

MAX_THREADS = 16
"""Of all persons. A thread that has no work is ended for another person's."""
MAX_SOCKETS = 4048
"""Sockets of a person that may wait for its thread: those of the sixteen largest requests. A program that asks for many
sockets on several connections needs as many at once, and one bind can be slow by chance."""
_SOCKETS_FOR_EACH = 253
"""Sockets of the largest request, for which there is always room."""
_FURTHER_SOCKETS = 4048
"""Of all persons together."""

_IDLE_S = 1.0


class TooManySlowError(Exception):
    """The thread of a person has enough work, or too many persons have one. The message says which."""


class Usage(NamedTuple):
    """What a thread has used: seconds of a processor, and how often it went to sleep."""

    cpu_s: float
    sleeps: int


def usage() -> Usage:
    """Return what this thread has used so far."""
    return Usage(time.thread_time(), resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw)


@dataclass(slots=True)
class _Budget:
    """The time that is left for long calls of a person. Below zero, it is the person's debt.

    `watched_until` is when the budget would be full if it had paid for all long calls in the main thread.
    """

    left_s: float
    at: float
    watched_until: float

    def fill(self, now: float) -> None:
        """Add what has grown since the last time."""
        self.left_s = min(BUDGET_S, self.left_s + (now - self.at) * BUDGET_SHARE)
        self.at = now

    def full_at(self) -> float:
        """Return when the person is no suspect any more, if it makes no long call until then."""
        return max(self.watched_until, self.at + _time_to_grow(BUDGET_S - self.left_s))


def _time_to_grow(seconds: float) -> float:
    """Return how long a budget takes to grow by so much."""
    return seconds / BUDGET_SHARE


@dataclass(slots=True)
class _Slowness:
    until: float
    period_s: float

    def is_forgiven(self, now: float) -> bool:
        """Return whether the person has been quick for so long that another slow call is no relapse."""
        return now > self.until + _MEMORY * self.period_s


class Errand:
    """Work for a person's thread. It ends by itself or by an exception, which `result` raises."""

    def __init__(self, work: Callable[[Errand], None], size: int) -> None:
        self.size = size
        self._work = work
        self._lock = threading.Lock()
        self._is_done = False
        self._error: BaseException | None = None
        self._callback: Callable[[], None] | None = None
        self._clean_up: Callable[[], None] | None = None

    @property
    def is_abandoned(self) -> bool:
        """Whether no one waits for the result any more, so that the work should end."""
        return self._clean_up is not None

    def when_done(self, callback: Callable[[], None]) -> None:
        """Have a function called once the work has ended: now, or later in the thread."""
        with self._lock:
            if not self._is_done:
                self._callback = callback
                return
        callback()

    def abandon(self, clean_up: Callable[[], None]) -> None:
        """Have a function called once the work has ended, instead of waiting for it. Until then, its sockets are used.

        Otherwise the thread could bind another socket that got the number of one that was closed.
        """
        with self._lock:
            if not self._is_done:
                self._callback, self._clean_up = None, clean_up
                return
        clean_up()

    def result(self) -> None:
        """Raise the exception by which the work ended, if it did."""
        if self._error is not None:
            raise self._error

    def run(self) -> Callable[[], None]:
        """Do the work, in the thread. Return the function to call now."""
        try:
            if not self.is_abandoned:
                self._work(self)
        except BaseException as error:
            self._error = error
        with self._lock:
            self._is_done = True
            return self._clean_up or self._callback or _do_nothing


def _do_nothing() -> None: ...


@dataclass(slots=True)
class _Lane:
    """The thread of a person. `sockets` is the number of its work that has not ended. None in `errands` ends it."""

    errands: SimpleQueue[Errand | None] = field(default_factory=SimpleQueue)
    sockets: int = 0


class SlowBinds:
    """Remembers the slow persons, and owns the threads. The caller chooses a number for each person."""

    def __init__(
        self,
        credentials: Credentials,
        max_threads: int = MAX_THREADS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the rights that each thread must have when it starts."""
        self._credentials = credentials
        self._max_threads = max_threads
        self._clock = clock
        self._lock = threading.Lock()
        self._slow: dict[int, _Slowness] = {}
        self._budgets: dict[int, _Budget] = {}
        self._lanes: dict[int, _Lane] = {}

    def is_slow(self, person: int) -> bool:
        """Return whether the person's calls must be made in its thread for now."""
        slowness = self._slow.get(person)
        return slowness is not None and self._clock() < slowness.until

    def is_suspect(self, person: int) -> bool:
        """Return whether the next calls of a person must be judged by what they use."""
        if person not in self._budgets:
            return False
        with self._lock:
            budget = self._budgets.get(person)
            if budget is None:
                return False
            is_full = self._clock() >= budget.full_at()
            if is_full:
                del self._budgets[person]
        return not is_full

    def judge(self, person: int, took_s: float, used: Usage | None) -> None:
        """Take a long call of a person in the main thread, or a call that failed after a long time.

        Args:
            person: the person.
            took_s: the time that passed.
            used: what the call used, if the person was a suspect.
        """
        if used is not None and not used.sleeps:
            took_s = min(took_s, used.cpu_s)
        self._spend(person, took_s, BUDGET_S if used is None else math.inf, watch_s=took_s)

    def judge_in_thread(self, person: int, used: Usage) -> None:
        """Take a long call of a person in its thread. It can be long only because the main thread works meanwhile."""
        if used.cpu_s > LONG_S:
            self._spend(person, used.cpu_s, BUDGET_S)

    def _spend(self, person: int, seconds: float, most_debt_s: float, watch_s: float = 0.0) -> None:
        """Take time off a person's budget, though not for more than this debt, and watch the person for longer."""
        with self._lock:
            now = self._clock()
            budget = self._budgets.get(person)
            if budget is None:
                if len(self._budgets) >= _MAX_REMEMBERED:
                    self._forget_budgets(now)
                budget = self._budgets[person] = _Budget(BUDGET_S, now, now)
            budget.fill(now)
            budget.left_s = min(budget.left_s, max(-most_debt_s, budget.left_s - seconds))
            budget.watched_until = max(budget.watched_until, now) + _time_to_grow(watch_s)
            debt_s = -budget.left_s
        if debt_s > 0:
            self.note(person, _time_to_grow(debt_s))

    def note(self, person: int, least_s: float = 0.0) -> None:
        """Remember that a call of the person was slow, for at least this long."""
        with self._lock:
            now = self._clock()
            slowness = self._slow.get(person)
            if slowness is None or slowness.is_forgiven(now):
                if len(self._slow) >= _MAX_REMEMBERED:
                    self._forget(now)
                slowness = self._slow[person] = _Slowness(now, _FIRST_S)
            elif now >= slowness.until:
                slowness.period_s = min(_LONGEST_S, 2 * slowness.period_s)
            slowness.until = max(slowness.until, now + max(slowness.period_s, least_s))

    def _forget(self, now: float) -> None:
        """Forget the persons that were quick for long, otherwise the one that may come back first."""
        for person in [one for one, slow in self._slow.items() if slow.is_forgiven(now)]:
            del self._slow[person]
        if len(self._slow) >= _MAX_REMEMBERED:
            del self._slow[min(self._slow, key=lambda one: self._slow[one].until)]

    def _forget_budgets(self, now: float) -> None:
        """Forget the full budgets, otherwise the one that is full first."""
        for person in [one for one, budget in self._budgets.items() if now >= budget.full_at()]:
            del self._budgets[person]
        if len(self._budgets) >= _MAX_REMEMBERED:
            del self._budgets[min(self._budgets, key=lambda one: self._budgets[one].full_at())]

    def send(self, person: int, work: Callable[[Errand], None], sockets: int) -> Errand:
        """Have work for this many sockets done in the person's thread.

        Raises:
            TooManySlowError: there is no room for it.
        """
        errand = Errand(work, sockets)
        with self._lock:
            lane = self._lanes.get(person)
            if lane is None:
                lane = self._start(person)
            elif lane.sockets and not self._has_room(lane, sockets):
                raise TooManySlowError(
                    "too many sockets of yours wait for slow calls of bind or listen; try again later"
                )
            lane.sockets += sockets
            lane.errands.put(errand)
        return errand

    def _has_room(self, lane: _Lane, sockets: int) -> bool:
        """Return whether more sockets may wait for the thread of a person that has work already."""
        waiting = lane.sockets + sockets
        further = sum(max(0, one.sockets - _SOCKETS_FOR_EACH) for one in self._lanes.values() if one is not lane)
        return waiting <= _SOCKETS_FOR_EACH or (
            waiting <= MAX_SOCKETS and further + waiting - _SOCKETS_FOR_EACH <= _FURTHER_SOCKETS
        )

    def _start(self, person: int) -> _Lane:
        if len(self._lanes) >= self._max_threads:
            idle = next((one for one, lane in self._lanes.items() if not lane.sockets), None)
            if idle is None:
                raise TooManySlowError("calls of bind or listen are slow for too many users; try again later")
            self._lanes.pop(idle).errands.put(None)
        lane = _Lane()
        try:
            threading.Thread(target=self._run, args=(person, lane), name=f"binds of {person}", daemon=True).start()
        except RuntimeError as error:
            raise TooManySlowError("the broker can start no thread for slow calls of bind; try again later") from error
        self._lanes[person] = lane
        return lane

    def _run(self, person: int, lane: _Lane) -> None:
        # The main thread handles signals.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        self._credentials.prove()
        while True:
            try:
                errand = lane.errands.get(timeout=_IDLE_S)
            except Empty:
                with self._lock:
                    if lane.sockets:
                        continue  # it came at this moment
                    if self._lanes.get(person) is lane:
                        del self._lanes[person]
                return
            if errand is None:
                return
            call = errand.run()
            with self._lock:
                lane.sockets -= errand.size
            # After that, so that the user whose callback runs has room for the next request.
            try:
                call()
            except BaseException as error:
                # The thread must go on, because later errands wait for it.
                _report(error)


def _report(error: BaseException) -> None:
    """Write an exception to standard error, as Python does if it ends a thread."""
    with contextlib.suppress(Exception):  # a full disk must not end the thread
        thread = threading.current_thread()
        threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, thread)))
