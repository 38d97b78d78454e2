"""The answers of the room: a container whose network namespace is open, or the reason why there is none."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

from ...policy.engine_names import EngineName

Kind = Literal[
    "no-such-container",
    "not-running",
    "host-network",
    "no-key",
    "owner-restarted",
    "several",
    "unavailable",
]


class Container(NamedTuple):
    """A container or pod, and its network namespace at the moment of the question."""

    name: EngineName
    id: str
    """The full id."""

    fd: int
    """A descriptor of its network namespace, proven to be one, and not the broker's own. The caller owns it."""

    resolv_conf: str | None
    """The text of the container's own /etc/resolv.conf, or None if it is absent or can't be trusted.

    The text is the container's claim: a limit must not add its name servers.
    """

    hosts: str | None
    """The text of its own /etc/hosts, or None. The same holds for it."""


class EngineError(Exception):
    """There is no namespace to use. The message says why, and how to go on.

    Attributes:
        kind: the case, for code that treats cases differently.
    """

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind: Kind = kind


class Found(NamedTuple):
    """An engine's answer about a running container, as text that is not yet proven to be true."""

    id: str
    """The full id."""

    key: str
    """A path to the network namespace."""

    resolv_conf: str | None = None
    """A path that an engine made for this container, or None."""

    hosts: str | None = None
    """The same for its hosts file."""


class Engine(Protocol):
    """One engine. Each module of an engine has a class of this form, and asks over a Unix socket.

    The caller bounds the time, by a cancel scope, and the number of questions at once.
    """

    async def find(self, name: str) -> Found:
        """Ask for the container of exactly this name.

        Raises:
            EngineError: it has no namespace to use, or the engine gives no answer that can be trusted.
        """

    async def running(self) -> list[str]:
        """List the names of the containers that run.

        Raises:
            EngineError: unavailable.
        """

    async def check(self) -> str:
        """Return one line about the engine, for example its version.

        Raises:
            EngineError: unavailable.
        """
