"""Asks the engines on behalf of clients: for a few containers of a person at once, and never longer than a second.

The engines bound their questions for all persons. This module bounds those of each person, at each engine. So a person
who asks for very many containers waits for its own questions.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

import trio

from ..clients.client import Person
from ..namespaces.engines import Container, EngineError
from ..policy.engine_names import EngineName, NameError_, parse_engine_name
from .containers import Missing
from .task import IsAnswerable

T = TypeVar("T")

MAX_NAMES_FOR_PERSON = 4
"""Names of one person that one engine is asked for at once. Requests of a person for the same name share this."""

ANSWER_S = 1.0
"""Seconds for one name in all, also for the wait until the person's other questions to this engine are answered."""

_SLACK_S = 0.05
"""The engines bound their time by themselves, and know the reason."""

LIST_S = 0.5
"""Seconds for the names that run. Completions ask for them, and do not wait for long."""

_DOZE_S = 0.02
"""After this time, the hub serves others as if there were no question. Its answer may then be noticed a bit later."""


class Asked(Protocol):
    """The engines, as `namespaces.engines.Engines` asks them."""

    async def find(self, name: EngineName, *, with_files: bool = False) -> Container:
        """Find a container."""

    async def running(self, engine: str) -> list[str]:
        """List the names that run."""


class EngineState(NamedTuple):
    """The numbers of an engine since it was switched on, for the status.

    Attributes:
        asked: the number of questions.
        failed: the number of questions that got no answer.
        fault: the reason why the last question got no answer, or None if it got one.
    """

    asked: int = 0
    failed: int = 0
    fault: str | None = None


class ContainerFinder:
    """Finds containers for clients.

    Attributes:
        states: the numbers of each engine.
    """

    def __init__(self, engines: Asked, switched_on: Iterable[str]) -> None:
        self._engines = engines
        self._shares: dict[tuple[Person, str], _Share] = {}
        self._dozers = _Dozers()
        self.states = dict.fromkeys(switched_on, EngineState())

    @asynccontextmanager
    async def found(
        self, names: Collection[str], person: Person, is_answerable: IsAnswerable, *, with_files: bool = False
    ) -> AsyncIterator[Mapping[str, Container] | Missing]:
        """Ask for legal names of containers, all at once. Lend the descriptors, or return the first name without one.

        Raises:
            OSError: no descriptor is left.
        """
        found: dict[str, Container | Missing] = {}
        try:
            await self._ask_all(names, person, is_answerable, found, with_files=with_files)
            missing = next((one for name in names if isinstance(one := found[name], Missing)), None)
            yield missing or {name: one for name, one in found.items() if isinstance(one, Container)}
        finally:
            for one in found.values():
                if isinstance(one, Container):
                    os.close(one.fd)

    async def _ask_all(
        self,
        names: Collection[str],
        person: Person,
        is_answerable: IsAnswerable,
        found: dict[str, Container | Missing],
        *,
        with_files: bool,
    ) -> None:
        errors: list[OSError] = []

        async def ask(name: str) -> None:
            try:
                found[name] = await self.find(name, person, with_files=with_files)
            except OSError as error:
                errors.append(error)

        with self._dozers.watched(is_answerable):
            if len(names) == 1:
                for name in names:
                    await ask(name)
            else:
                async with trio.open_nursery() as nursery:
                    for name in names:
                        nursery.start_soon(ask, name)
        if errors:
            raise errors[0]

    async def find(self, name: str, person: Person, *, with_files: bool = False) -> Container | Missing:
        """Ask for one container. The caller owns the descriptor.

        Raises:
            OSError: no descriptor is left.
        """
        parsed = parse_engine_name(name, self.states)
        if parsed is None:
            return Missing(name, "unavailable", f"the engine of {name} is not switched on any more; try again")
        question = partial(self._engines.find, parsed, with_files=with_files)
        try:
            return await self._ask(parsed.engine, name, person, question, ANSWER_S)
        except EngineError as error:
            return Missing(name, error.kind, str(error))

    async def running(
        self, engines: Collection[str], person: Person, is_answerable: IsAnswerable
    ) -> tuple[list[str], dict[str, str]]:
        """List the full names of the containers that run now, and for each engine without an answer the reason.

        Raises:
            OSError: no descriptor is left.
        """
        answers: dict[str, list[str]] = {}
        faults: dict[str, str] = {}
        errors: list[OSError] = []

        async def ask(engine: str) -> None:
            question = partial(self._engines.running, engine)
            try:
                names = await self._ask(engine, engine, person, question, LIST_S)
            except EngineError as error:
                faults[engine] = str(error)
            except OSError as error:
                errors.append(error)
            else:
                answers[engine] = [name for one in names if self._is_legal(name := f"{engine}:{one}")]

        with self._dozers.watched(is_answerable):
            async with trio.open_nursery() as nursery:
                for engine in engines:
                    nursery.start_soon(ask, engine)
        if errors:
            raise errors[0]
        running = [name for engine in engines for name in answers.get(engine, ())]
        return running, {engine: faults[engine] for engine in engines if engine in faults}

    def _is_legal(self, name: str) -> bool:
        try:
            return parse_engine_name(name, self.states) is not None
        except NameError_:
            return False

    async def _ask(
        self, engine: str, name: str, person: Person, question: Callable[[], Awaitable[T]], answer_s: float
    ) -> T:
        end = trio.current_time() + answer_s
        try:
            with self._share(person, engine) as share:
                with trio.move_on_at(end + _SLACK_S):
                    if share.is_full_for(name):
                        await share.wait(name)
                    with share.taken(name):
                        answer = await question()
                        self._count(engine, None)
                        return answer
        except EngineError as error:
            self._count(engine, str(error) if error.kind == "unavailable" else None)
            raise
        told = f"{engine} does not answer within {answer_s:g} s: see whether its service works, and try again"
        self._count(engine, told)
        raise EngineError("unavailable", told)

    def _count(self, engine: str, fault: str | None) -> None:
        asked, failed, _ = self.states[engine]
        self.states[engine] = EngineState(asked + 1, failed + (fault is not None), fault)

    @contextmanager
    def _share(self, person: Person, engine: str) -> Iterator[_Share]:
        """Return the names that a person asks an engine for now."""
        key = person, engine
        share = self._shares.setdefault(key, _Share())
        share.users += 1
        try:
            yield share
        finally:
            share.users -= 1
            if not share.users:
                del self._shares[key]


class _Share:
    """The names that a person asks an engine for now, each with its number of requests, and the requests that wait."""

    def __init__(self) -> None:
        self.users = 0
        self._names: Counter[str] = Counter()
        self._waiting = trio.lowlevel.ParkingLot()

    def is_full_for(self, name: str) -> bool:
        """Return whether the person may not ask for this name now."""
        return name not in self._names and len(self._names) >= MAX_NAMES_FOR_PERSON

    async def wait(self, name: str) -> None:
        """Wait until the person may ask for this name."""
        while self.is_full_for(name):
            await self._waiting.park()

    @contextmanager
    def taken(self, name: str) -> Iterator[None]:
        """Count a request for a name."""
        self._names[name] += 1
        try:
            yield
        finally:
            self._names[name] -= 1
            if not self._names[name]:
                del self._names[name]
                self._waiting.unpark_all()  # several may wait for the same name


class _Dozers:
    """The tasks that ask. If an answer takes long, the hub serves others as if there were no question.

    One watch looks after all of them. A task of its own for each would take a tenth of the request's time.
    """

    def __init__(self) -> None:
        self._asking: dict[ExitStack, tuple[float, IsAnswerable]] = {}
        self._is_watched = False

    @contextmanager
    def watched(self, is_answerable: IsAnswerable) -> Iterator[None]:
        """Let a task sleep if this takes long."""
        if not self._is_watched:
            self._is_watched = True
            trio.lowlevel.spawn_system_task(self._watch)
        with ExitStack() as sleep:
            self._asking[sleep] = trio.current_time(), is_answerable
            try:
                yield
            finally:
                self._asking.pop(sleep, None)

    async def _watch(self) -> None:
        try:
            while self._asking:
                await trio.sleep(_DOZE_S)
                before = trio.current_time() - _DOZE_S
                for sleep, (since, is_answerable) in list(self._asking.items()):
                    if since <= before:
                        del self._asking[sleep]
                        sleep.enter_context(is_answerable.asleep())
        finally:
            self._is_watched = False
