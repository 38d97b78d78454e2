"""Questions to engines for clients: bounded for each person, in bounded time, and counted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio
import trio.testing

from nsbroker.wire import NO_SUCH_NAMESPACE, OVERLOADED, SocketSpec
from nsbrokerd.clients.client import Person
from nsbrokerd.namespaces.engines import Container, EngineError
from nsbrokerd.policy.engine_names import EngineName
from nsbrokerd.policy.plans import Refusal
from nsbrokerd.requests.container_finder import ANSWER_S, MAX_NAMES_FOR_PERSON, ContainerFinder, EngineState
from nsbrokerd.requests.containers import Missing
from nsbrokerd.requests.task import TaskQuota

ANN, BOB = Person(1000, 0, 1), Person(1001, 0, 1)


class FakeEngines:
    """Answers when it is told to, and notes the names that are asked for now."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.going_on = trio.Event()
        self.error: EngineError | OSError | None = None
        self.names: list[str] = []

    async def find(self, name: EngineName, *, with_files: bool = False) -> Container:
        self.asked.append(str(name))
        await self.going_on.wait()
        if self.error is not None and name.name != "web":
            raise self.error
        fd = os.open("/dev/null", os.O_RDONLY)
        return Container(name, "0" * 64, fd, "text" if with_files else None, None)

    async def running(self, engine: str) -> list[str]:
        if self.error is not None:
            raise self.error
        if not self.names:
            await trio.sleep_forever()
        return self.names


class Client:
    """The client of a task, which notes whether the task is asleep."""

    def __init__(self) -> None:
        self.is_asleep = False

    async def __call__(self) -> bool:
        return True

    def is_gone(self) -> bool:
        return False

    @contextmanager
    def asleep(self) -> Iterator[None]:
        self.is_asleep = True
        try:
            yield
        finally:
            self.is_asleep = False

    def move_to(self, _quota: TaskQuota) -> Refusal | None:
        return None


def finder(engines: FakeEngines) -> ContainerFinder:
    return ContainerFinder(engines, ["podman", "docker"])


def run(test: object) -> None:
    trio.run(test, clock=trio.testing.MockClock(autojump_threshold=0))  # type: ignore[arg-type]  # a coroutine function


def test_person_asks_for_few_names_at_once() -> None:
    """Another person asks at the same time, and requests for the same name share the place."""

    async def ask() -> None:
        engines = FakeEngines()
        asking = finder(engines)

        async def find(name: str, person: Person) -> None:
            found = await asking.find(name, person)
            assert isinstance(found, Container)
            os.close(found.fd)

        async with trio.open_nursery() as nursery:
            for number in range(MAX_NAMES_FOR_PERSON + 3):
                nursery.start_soon(find, f"podman:a{number}", ANN)
            await trio.testing.wait_all_tasks_blocked()
            assert len(engines.asked) == MAX_NAMES_FOR_PERSON
            shared = engines.asked[0]
            nursery.start_soon(find, shared, ANN)
            nursery.start_soon(find, "podman:b", BOB)
            await trio.testing.wait_all_tasks_blocked()
            assert sorted(engines.asked[MAX_NAMES_FOR_PERSON:]) == sorted([shared, "podman:b"])
            engines.going_on.set()
        assert len(set(engines.asked)) == MAX_NAMES_FOR_PERSON + 4
        assert asking.states["podman"] == EngineState(MAX_NAMES_FOR_PERSON + 5, 0, None)

    run(ask)


def test_engine_that_hangs_costs_a_second_at_most() -> None:
    """Also those that wait for their person's other questions, which then are not asked at all."""

    async def ask() -> None:
        engines = FakeEngines()
        asking = finder(engines)
        results: list[object] = []

        async def find(number: int) -> None:
            results.append(await asking.find(f"podman:a{number}", ANN))

        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(find, number)
        assert trio.current_time() - began <= ANSWER_S + 0.1
        assert len(results) == 20
        assert all(isinstance(one, Missing) and one.kind == "unavailable" for one in results)
        assert len(engines.asked) == MAX_NAMES_FOR_PERSON
        asked, failed, fault = asking.states["podman"]
        assert (asked, failed) == (20, 20)
        assert fault is not None
        assert "podman does not answer within 1 s" in fault
        assert asking.states["docker"] == EngineState()

    run(ask)


def test_engine_that_hangs_does_not_delay_its_person_at_another_engine() -> None:
    """A person has a share of questions at each engine."""

    async def ask() -> None:
        engines = FakeEngines()
        asking = finder(engines)
        async with trio.open_nursery() as nursery:
            for number in range(MAX_NAMES_FOR_PERSON + 1):
                nursery.start_soon(asking.find, f"podman:a{number}", ANN)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(asking.find, "docker:web", ANN)
            await trio.testing.wait_all_tasks_blocked()
            assert engines.asked[MAX_NAMES_FOR_PERSON:] == ["docker:web"]

    run(ask)


def test_hub_serves_others_as_if_there_were_no_question_that_takes_long() -> None:
    async def ask() -> None:
        engines, client = FakeEngines(), Client()
        asking = finder(engines)
        async with trio.open_nursery() as nursery:

            async def find() -> None:
                async with asking.found(["podman:web"], ANN, client) as found:
                    assert not client.is_asleep
                    assert isinstance(found, dict)

            nursery.start_soon(find)
            await trio.testing.wait_all_tasks_blocked()
            assert not client.is_asleep
            await trio.sleep(0.1)
            assert client.is_asleep
            engines.going_on.set()

    run(ask)


def test_descriptors_of_all_containers_are_closed() -> None:
    """Also if one of several containers is missing, or the body fails."""

    async def ask() -> None:
        engines = FakeEngines()
        engines.going_on.set()
        before = len(os.listdir("/proc/self/fd"))
        asking = finder(engines)
        async with asking.found(["podman:web", "docker:web"], ANN, Client(), with_files=True) as found:
            assert isinstance(found, dict)
            assert [one.resolv_conf for one in found.values()] == ["text", "text"]
            assert len(os.listdir("/proc/self/fd")) == before + 2
        assert len(os.listdir("/proc/self/fd")) == before
        engines.error = EngineError("not-running", "it does not run")
        async with asking.found(["podman:web", "podman:db"], ANN, Client()) as found:
            assert found == Missing("podman:db", "not-running", "it does not run")
        engines.error = OSError(24, "no descriptor")
        with pytest.raises(OSError, match="no descriptor"):
            async with asking.found(["podman:web", "podman:db"], ANN, Client()):
                pass
        assert len(os.listdir("/proc/self/fd")) == before
        assert not asking._shares

    run(ask)


def test_engine_that_does_not_list_its_containers_is_named() -> None:
    async def ask() -> None:
        engines = FakeEngines()
        asking = finder(engines)
        began = trio.current_time()
        running, faults = await asking.running(["podman", "docker"], ANN, Client())
        assert trio.current_time() - began <= 0.6
        assert (running, list(faults)) == ([], ["podman", "docker"])
        engines.names = ["web", "not a name", "db"]
        assert await asking.running(["podman"], ANN, Client()) == (["podman:web", "podman:db"], {})
        engines.error = EngineError("unavailable", "it is dead")
        assert await asking.running(["podman"], ANN, Client()) == ([], {"podman": "it is dead"})
        assert asking.states["podman"] == EngineState(3, 2, "it is dead")
        engines.error = OSError(24, "no descriptor")
        with pytest.raises(OSError, match="no descriptor"):
            await asking.running(["podman", "docker"], ANN, Client())

    run(ask)


@pytest.mark.parametrize(
    ("kind", "code", "can_come"),
    [
        ("no-such-container", NO_SUCH_NAMESPACE, True),
        ("not-running", NO_SUCH_NAMESPACE, True),
        ("host-network", NO_SUCH_NAMESPACE, False),
        ("no-key", NO_SUCH_NAMESPACE, False),
        ("owner-restarted", NO_SUCH_NAMESPACE, False),
        ("several", NO_SUCH_NAMESPACE, False),
        ("unavailable", OVERLOADED, False),
    ],
)
def test_engine_without_an_answer_is_never_a_missing_container(kind: str, code: str, can_come: bool) -> None:
    missing = Missing("podman:web", kind, "because")
    specs = [SocketSpec("blue", 2, 1), SocketSpec("podman:web", 2, 1)]
    assert missing.refuse(specs) == Refusal(code, "because", None, 1, "podman:web")
    assert missing.can_come() is can_come
