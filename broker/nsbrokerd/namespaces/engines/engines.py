"""Asks each engine for names: in bounded time, few questions at once, and never from a cache."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

import trio

from ...policy.engine_names import EngineName, NameError_, parse_engine_name
from ..file_identity import Identity
from .answers import Container, Engine, EngineError, Found
from .container_files import read_container_file
from .network_key import open_key
from .questions import Questions

ANSWER_S = 1.0
"""Seconds for one name in all: for its turn, the questions, and the answers."""

MAX_QUESTIONS = 8
"""Questions to one engine at once. Each takes a descriptor, and memory for its answer."""

T = TypeVar("T")


class Engines:
    """The engines that are switched on."""

    def __init__(self, sockets: Mapping[str, Path], home: Identity, answer_s: float = ANSWER_S) -> None:
        """Take the engines, and ask none of them yet.

        Args:
            sockets: the path of the Unix socket for each engine, by its word of ENGINES.
            home: the broker's own network namespace, as `file_identity.identify` returns it.
            answer_s: seconds for one name. Only tests need more, on a busy machine.
        """
        self._home = home
        self._asked = {engine: _AskedEngine(engine, path, answer_s) for engine, path in sockets.items()}

    async def find(self, name: EngineName, *, with_files: bool = False) -> Container:
        """Ask for a container, and open its network namespace as it is now.

        Args:
            name: the name of the container or pod.
            with_files: read the texts for look-ups as well. Otherwise both are None.

        Raises:
            EngineError: see its kind. It takes at most ANSWER_S until then.
            OSError: no descriptor is left (EMFILE, ENFILE).
        """
        try:
            parse_engine_name(str(name), (name.engine,))
        except NameError_ as error:
            raise EngineError("no-such-container", str(error)) from error
        found = await self._named(name.engine).find(name.name)
        paths = (found.resolv_conf, found.hosts) if with_files else (None, None)
        texts = [None if path is None else read_container_file(path) for path in paths]
        return Container(name, found.id, open_key(found.key, name, self._home), *texts)

    async def running(self, engine: str) -> list[str]:
        """List the names of the containers or pods that run now, without the engine's word, in alphabetical order.

        Raises:
            EngineError: the engine is unavailable.
        """
        return list(await self._named(engine).running())

    async def check(self, engine: str) -> str:
        """Ask the engine for its version, and return one line, for example "podman 5.4.2 answers at PATH".

        Raises:
            EngineError: the engine is unavailable.
        """
        return await self._named(engine).check()

    def _named(self, engine: str) -> _AskedEngine:
        if engine not in self._asked:
            raise EngineError("unavailable", f"{engine} is not switched on: add it to [engines] of nsbrokerd.toml")
        return self._asked[engine]


class _AskedEngine:
    """One engine, and the questions that it is asked now."""

    def __init__(self, engine: str, path: Path, answer_s: float) -> None:
        self._answer_s = answer_s
        self._late = f"{engine} does not answer within {answer_s:g} s at {path}: see whether its service works"
        self._engine = _load(engine, path)
        places = trio.CapacityLimiter(MAX_QUESTIONS)
        self._names = Questions[Found](places, EngineError)
        self._lists = Questions[list[str]](places, EngineError)
        self._checks = Questions[str](places, EngineError)

    async def find(self, name: str) -> Found:
        return await self._in_time(self._names, name, lambda: self._engine.find(name))

    async def running(self) -> list[str]:
        return await self._in_time(self._lists, "", self._engine.running)

    async def check(self) -> str:
        return await self._in_time(self._checks, "", self._engine.check)

    async def _in_time(self, questions: Questions[T], name: str, question: Callable[[], Awaitable[T]]) -> T:
        with trio.move_on_after(self._answer_s):
            return await questions.ask(name, question)
        raise EngineError("unavailable", self._late)


def _load(engine: str, path: Path) -> Engine:
    # The module of an engine loads its libraries. So it is loaded only if the engine is switched on.
    if engine == "pod":
        from .cri import Cri

        return Cri(path)
    from .docker_api import DockerApi

    return DockerApi(engine, path)
