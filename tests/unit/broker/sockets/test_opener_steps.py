"""Sockets are made in steps: between two of them the thread is as before, and in the end all is as without steps."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from types import SimpleNamespace

import pytest

from nsbroker.wire import Option, SocketSpec
from nsbrokerd.clients.client import Person
from nsbrokerd.clients.closer import Closer
from nsbrokerd.namespaces.netns import Gate
from nsbrokerd.policy import Grant, NamespaceRule
from nsbrokerd.policy.kinds import triple_of
from nsbrokerd.policy.plans import PlannedSocket
from nsbrokerd.sockets import batch as batch_module
from nsbrokerd.sockets.batch import Opened, OpenError, OpenGroup
from nsbrokerd.sockets.credentials import Credentials
from nsbrokerd.sockets.opener import Opener
from nsbrokerd.sockets.slow_binds import BUDGET_S, LONG_S, Errand, SlowBinds, Usage
from nsbrokerd.sockets.time_slice import AbandonedError, TimeSlice
from support.brokers.fake_porters import FakePorters
from support.process_state import thread_state
from support.steps import count_steps, finish
from support.waiting import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="sockets are made as their owner: that needs root")

UID = 62001
ANYBODY = Person(UID, 0, 1)
GRANT = Grant("some", None, frozenset(), NamespaceRule.parse(["@host"]), frozenset({"tcp"}))
MARK = (int(socket.SOL_SOCKET), int(socket.SO_MARK), 7)
LIMIT_S = 60


class NoTime(TimeSlice):
    """Each piece must end as soon as it can."""

    def is_over(self) -> bool:
        return True


class MuchTime(TimeSlice):
    """No piece has to end."""

    def is_over(self) -> bool:
        return False


def listener(position: int, address: str = "127.0.0.1", options: tuple[Option, ...] = ()) -> PlannedSocket:
    spec = SocketSpec("@host", socket.AF_INET, socket.SOCK_STREAM, 0, (address, 0), 1, options)
    return PlannedSocket(position, "@host", spec, triple_of(spec), "tcp", GRANT, False)


class Broker:
    """An opener for sockets in the process's own namespace."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.slow = SlowBinds(Credentials())
        self.opener = Opener(self.gate, Credentials(), {}, slow=self.slow)

    def groups(self, *planned: PlannedSocket) -> list[OpenGroup]:
        return [OpenGroup(self.gate.home_fd, planned)]


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    """No call is slow, however busy this machine is."""
    monkeypatch.setattr(batch_module, "time", SimpleNamespace(monotonic=lambda: 0.0))
    made = Broker()
    yield made
    os.close(made.gate.home_fd)


def sockets() -> set[str]:
    """Return the sockets that this process has open. Threads of other tests may close some of them."""
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found.add(os.readlink(f"/proc/self/fd/{fd}"))
    return {name for name in found if name.startswith("socket:")}


def close(opened: list[Opened]) -> None:
    for one in opened:
        one.sock.close()


def test_sockets_are_made_one_by_one_if_there_is_no_time(broker: Broker) -> None:
    """Others can be served after each socket that was made, has its options, is bound, or listens."""
    planned = [listener(number, options=(MARK,)) for number in range(5)]
    cuts, opened = count_steps(broker.opener.open_in_steps(broker.groups(*planned), UID, UID, ANYBODY, NoTime()))
    assert cuts >= 4 * len(planned)
    assert [one.planned for one in opened] == planned
    assert all(one.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) for one in opened)
    assert {os.fstat(one.sock.fileno()).st_uid for one in opened} == {UID}
    close(opened)


def test_few_sockets_are_made_without_a_cut(broker: Broker) -> None:
    cuts, opened = count_steps(broker.opener.open_in_steps(broker.groups(listener(0)), UID, UID, ANYBODY, MuchTime()))
    assert cuts == 0
    close(opened)


def test_thread_is_at_home_with_its_own_rights_at_each_cut(broker: Broker) -> None:
    home = thread_state()
    steps = broker.opener.open_in_steps(broker.groups(listener(0), listener(1)), UID, UID, ANYBODY, NoTime())
    states = []
    while True:
        try:
            next(steps)
        except StopIteration as end:
            close(end.value)
            break
        states.append(thread_state())
    assert len(states) > 5
    assert set(states) == {home}


def test_nothing_is_left_of_a_request_that_is_given_up_at_any_cut(broker: Broker) -> None:
    """For example because its client is gone."""
    before = sockets()
    for wanted in range(12):
        steps = broker.opener.open_in_steps(broker.groups(*map(listener, range(4))), UID, UID, ANYBODY, NoTime())
        for _ in range(wanted + 1):
            next(steps)
        steps.close()
        assert not sockets() - before


def test_nothing_is_left_of_a_request_that_fails(broker: Broker) -> None:
    """Its sockets are closed in steps as well."""
    before = sockets()
    planned = [listener(0), listener(1), listener(2, "192.0.2.1")]
    with pytest.raises(OpenError) as failure:
        finish(broker.opener.open_in_steps(broker.groups(*planned), UID, UID, ANYBODY, NoTime()))
    assert (failure.value.position, failure.value.error.errno) == (2, errno.EADDRNOTAVAIL)
    assert not sockets() - before


def test_request_that_has_failed_fails_though_nobody_waits_for_it_any_more(broker: Broker) -> None:
    """So its failure is known. Before that, nothing is."""
    before = sockets()
    planned = [listener(0), listener(1), listener(2, "192.0.2.1")]
    errors: list[type[BaseException]] = []
    while OpenError not in errors[:-2]:  # each of the three sockets is closed in a step
        steps = broker.opener.open_in_steps(broker.groups(*planned), UID, UID, ANYBODY, NoTime())
        for _ in range(len(errors) + 1):
            next(steps)
        with pytest.raises((AbandonedError, OpenError)) as failure:
            steps.throw(AbandonedError())
        errors.append(failure.type)
        assert not sockets() - before
    assert errors == [AbandonedError] * (len(errors) - 3) + [OpenError] * 3


class Binding:
    """Stands in for the calls that bind. It notes their threads. The first call takes so long by a fake clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, first_s: float = 1.0) -> None:
        self.now = 0.0
        self.first_s = first_s
        self.threads: list[str] = []
        self.states: list[object] = []
        self.go_on = threading.Event()
        self.go_on.set()
        monkeypatch.setattr(batch_module, "time", SimpleNamespace(monotonic=lambda: self.now))
        rounds = list(batch_module._SET_UP)
        self._bind = rounds[1]
        rounds[1] = self.bind
        monkeypatch.setattr(batch_module, "_SET_UP", tuple(rounds))

    def bind(self, planned: PlannedSocket, sock: socket.SocketType) -> None:
        if not self.threads:
            self.now += self.first_s
        self.threads.append(threading.current_thread().name)
        self.states.append(thread_state())
        if self.threads[-1] != "MainThread":
            assert self.go_on.wait(LIMIT_S)
        self._bind(planned, sock)


def open_waiting(broker: Broker, *planned: PlannedSocket) -> list[Opened]:
    """Take the steps as the hub does: after a cut that waits, go on when it is done."""
    steps = broker.opener.open_in_steps(broker.groups(*planned), UID, UID, ANYBODY, TimeSlice())
    while True:
        try:
            awaited = next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        assert awaited is not None
        done = threading.Event()
        awaited.when_done(done.set)
        assert done.wait(LIMIT_S)


def test_after_a_slow_bind_the_person_binds_in_its_own_thread(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the same request, too. Its thread binds without any rights, as the main thread does."""
    binding = Binding(monkeypatch)
    close(open_waiting(broker, *map(listener, range(3))))
    assert binding.threads == ["MainThread", f"binds of {UID}", f"binds of {UID}"]
    assert len(set(binding.states)) == 1
    assert broker.opener.needs_steps(listener(0), ANYBODY)
    assert not broker.opener.needs_steps(listener(0), Person(UID + 1, 0, 1))
    close(open_waiting(broker, listener(0)))
    assert binding.threads[3:] == [f"binds of {UID}"]


def test_after_a_bind_that_was_interrupted_the_person_binds_in_the_main_thread(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can't be told from a slow one at first, so the next ones are looked at."""
    binding = Binding(monkeypatch, BUDGET_S / 2)
    close(finish(broker.opener.open_in_steps(broker.groups(*map(listener, range(3))), UID, UID, ANYBODY, MuchTime())))
    assert binding.threads == ["MainThread"] * 3
    assert broker.slow.is_suspect(UID)


def test_call_of_a_suspect_pays_for_what_it_used_itself(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls before it used the processor, too. They took no longer than the time that passed until it began."""
    judged = []
    broker.slow.judge(UID, BUDGET_S / 2, None)
    monkeypatch.setattr(broker.slow, "judge", lambda *args: judged.append(args))
    before, after = Usage(2.0, 7), Usage(2.0 + 4 * LONG_S, 7)
    usages = iter([before])
    monkeypatch.setattr(batch_module, "usage", lambda: next(usages, after))
    times = iter([0.0, 0.0, LONG_S, LONG_S])
    monkeypatch.setattr(batch_module, "time", SimpleNamespace(monotonic=lambda: next(times, 1.0)))
    close(finish(broker.opener.open_in_steps(broker.groups(listener(0), listener(1)), UID, UID, ANYBODY, MuchTime())))
    [(person, took_s, used)] = judged
    assert (person, took_s) == (UID, 1.0 - LONG_S)
    assert used == Usage(pytest.approx(3 * LONG_S), 0)


def test_error_in_the_thread_is_that_of_its_socket(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    Binding(monkeypatch)
    before = sockets()
    with pytest.raises(OpenError) as failure:
        open_waiting(broker, listener(0), listener(1, "192.0.2.1"), listener(2))
    assert (failure.value.position, failure.value.error.errno) == (1, errno.EADDRNOTAVAIL)
    assert not sockets() - before


def test_sockets_of_a_client_that_is_gone_stay_open_until_the_thread_has_left_them(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then they are closed, and the rest is not bound any more."""
    binding = Binding(monkeypatch)
    binding.go_on.clear()
    before = sockets()
    steps = broker.opener.open_in_steps(broker.groups(*map(listener, range(4))), UID, UID, ANYBODY, TimeSlice())
    assert isinstance(next(steps), Errand)
    wait_until(lambda: len(binding.threads) == 2)
    steps.close()
    assert len(sockets() - before) == 4
    binding.go_on.set()
    wait_until(lambda: not sockets() - before)
    assert len(binding.threads) == 2


def test_request_that_failed_in_the_thread_fails_though_nobody_waits_for_it_any_more(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So its refusal is recorded, whether its client hangs up just before the hub goes on or not."""
    Binding(monkeypatch)
    before = sockets()
    planned = [listener(0), listener(1, "192.0.2.1")]
    steps = broker.opener.open_in_steps(broker.groups(*planned), UID, UID, ANYBODY, TimeSlice())
    errand, done = next(steps), threading.Event()
    assert errand is not None
    errand.when_done(done.set)
    assert done.wait(LIMIT_S)
    with pytest.raises(OpenError):
        steps.throw(AbandonedError())
    assert not sockets() - before


def test_thread_uses_no_porter(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The main thread works with the porters at the same time. So it gets the Unix sockets of the request."""
    binding = Binding(monkeypatch)
    binding.go_on.clear()
    porters = FakePorters()
    closer = Closer(porters)  # type: ignore[arg-type]  # a fake
    opener = Opener(broker.gate, Credentials(), {}, slow=broker.slow, closer=closer)
    spec = SocketSpec("@host", socket.AF_UNIX, socket.SOCK_STREAM, 0, b"")
    unix = PlannedSocket(2, "@host", spec, triple_of(spec), "unix", GRANT, False)
    steps = opener.open_in_steps(broker.groups(listener(0), listener(1), unix), UID, UID, ANYBODY, TimeSlice())
    assert isinstance(next(steps), Errand)
    wait_until(lambda: len(binding.threads) == 2)
    steps.close()
    binding.go_on.set()
    wait_until(lambda: closer.held == 1 or bool(porters.files))
    assert porters.files == []
    closer.sweep()
    assert len(porters.files) == 1
    porters.close_all()
