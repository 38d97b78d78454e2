"""Asks podman or docker: both answer in the form of the Docker Engine API. The version in a path would be optional."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TypeVar

from ...policy.engine_names import NameError_, parse_engine_name
from .answers import EngineError, Found
from .http import Answer, get
from .inspection import Inspected, UnclearAnswerError, parse_inspection, parse_message, parse_names
from .unix_socket import UnreachableError

MAX_ANSWER_BYTES = 2**18
"""Of an answer about one container: about 4 KB, and its labels."""

MAX_LIST_BYTES = 2**20
"""Of a list of containers: about 1 KB for each of them, and its labels."""

MAX_OWNERS = 3
"""A container can have the network of another one, which has that of a third."""

_SERVER = re.compile(r"(Libpod|Docker)/([0-9A-Za-z.+~-]{1,64})(?: |$)")
_SERVER_WORDS = {"Libpod": "podman", "Docker": "docker"}

T = TypeVar("T")


class DockerApi:
    """One engine, at one socket. It has the form of `answers.Engine`."""

    def __init__(self, engine: str, path: Path) -> None:
        self._engine = engine
        self._path = path

    async def find(self, name: str) -> Found:
        """Ask for the container of exactly this name. Errors are those of `Engine.find`."""
        full = f"{self._engine}:{name}"
        member = await self._inspect(name)
        if member is None:
            pods = ". Of a pod, name one of its containers" if self._engine == "podman" else ""
            raise EngineError("no-such-container", f"{self._engine} has no container {name}{pods}")
        if member.name != name:
            message = (
                f"{self._engine} has no container with the name {name}. If this is an id, use the container's name"
            )
            raise EngineError("no-such-container", message)
        _check(member, full)
        chain = [member]
        while (owner_id := chain[-1].owner) is not None:
            if len(chain) > MAX_OWNERS:
                message = (
                    f"{full} has the network of another container, over more than {MAX_OWNERS} others: name that one"
                )
                raise EngineError("no-key", message)
            chain.append(await self._find_owner(owner_id, chain[-1], full))
        files = [_own_file([(one.id, path(one)) for one in chain]) for path in (_resolv_conf, _hosts)]
        return Found(member.id, chain[-1].key, *files)

    async def _find_owner(self, owner_id: str, member: Inspected, full: str) -> Inspected:
        """Ask for the container whose network another one joined. `full` is the requested name."""
        owner = await self._inspect(owner_id)
        if owner is None:
            message = f"the container whose network {full} joined is gone: make both of them anew"
            raise EngineError("not-running", message)
        if owner.id != owner_id:
            raise self._unavailable("it answers with a container that has another id than the requested one")
        owner_name, member_name = (one.name if self._is_legal(one.name) else one.id for one in (owner, member))
        _check(owner, f"{owner_name}, whose network {full} joined,")
        # A container joins the namespace that its owner has at this moment. The owner gets a new one when it restarts.
        if owner.started_ns > member.started_ns:
            message = (
                f"{full} has the network of {owner_name}, which has restarted since: restart {member_name} as well"
            )
            raise EngineError("owner-restarted", message)
        return owner

    async def running(self) -> list[str]:
        """List the names of the containers that run. Errors are those of `Engine.running`."""
        answer = await self._get("/containers/json", MAX_LIST_BYTES)
        self._expect_success(answer)
        return sorted({name for name in self._parse(parse_names, answer.body) if self._is_legal(name)})

    async def check(self) -> str:
        """Return the engine's version. Errors are those of `Engine.check`."""
        # podman starts three programs before it answers for /version.
        answer = await self._get("/_ping", MAX_ANSWER_BYTES)
        self._expect_success(answer)
        match = _SERVER.match(answer.server)
        if not match:
            raise self._unavailable("the server at its socket is no engine: correct [engines]")
        engine, version = _SERVER_WORDS[match[1]], match[2]
        if engine != self._engine:
            raise self._unavailable(f"the engine there is {engine}: correct [engines]")
        return f"{engine} {version} answers at {self._path}"

    async def _inspect(self, reference: str) -> Inspected | None:
        """Ask for one container, by its name or id. Return None if there is none."""
        answer = await self._get(f"/containers/{reference}/json", MAX_ANSWER_BYTES)
        if answer.status == 404:
            self._parse(parse_message, answer.body)  # the 404 of another server has none
            return None
        self._expect_success(answer)
        return self._parse(parse_inspection, answer.body)

    async def _get(self, target: str, max_bytes: int) -> Answer:
        try:
            return await get(self._path, target, max_bytes)
        except UnreachableError as error:
            raise self._unavailable(str(error)) from error

    def _parse(self, parse: Callable[[bytes], T], body: bytes) -> T:
        try:
            return parse(body)
        except UnclearAnswerError as error:
            raise self._unavailable(f"its answer is unclear: {error}") from error

    def _expect_success(self, answer: Answer) -> None:
        if answer.status != 200:
            raise self._unavailable(f"it answers with the status {answer.status}: see its log")

    def _unavailable(self, why: str) -> EngineError:
        return EngineError("unavailable", f"{self._engine} is unavailable at {self._path}: {why}")

    def _is_legal(self, name: str) -> bool:
        try:
            return parse_engine_name(f"{self._engine}:{name}", (self._engine,)) is not None
        except NameError_:
            return False


def _check(container: Inspected, whom: str) -> None:
    """Refuse a container that has no network namespace of its own or of another container. `whom` is for messages."""
    if not container.running:
        raise EngineError("not-running", f"{whom} does not run: start it")
    if container.network == "host":
        raise EngineError("host-network", f"the network of {whom} is the host's: ask for @host")


def _resolv_conf(container: Inspected) -> str:
    return container.resolv_conf


def _hosts(container: Inspected) -> str:
    return container.hosts


def _own_file(chain: list[tuple[str, str]]) -> str | None:
    """Return the path of a container's file, if the engine made this file, for it or for the owner of its network.

    A user can have mounted any file in its place, in a directory of any name. But a container's id is random, and is in
    no path before the container exists. An owner's id is, so there the owner itself must name the same path.

    Args:
        chain: id and path of the container, of the owner of its network, and so on.
    """
    path = chain[0][1]
    parts = PurePosixPath(path).parts
    if path.startswith("/") and any(id_ in parts and path == named for id_, named in chain):
        return path
    return None
