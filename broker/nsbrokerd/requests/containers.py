"""Names of containers in requests: which names an engine must be asked for, what that takes, and the refusals. Pure.

`container_finder` asks the engines.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from nsbroker.wire import BAD_REQUEST, NO_SUCH_NAMESPACE, OVERLOADED, NamespaceRef, SocketSpec

from ..namespaces.netns import NamespaceNotFoundError, check_name
from ..namespaces.sent_descriptors import SentNamespaces
from ..policy import Policy
from ..policy.engine_names import NameError_, parse_engine_name
from ..policy.plans import Refusal
from .task import TaskQuota

MAX_FOR_USER = 96
"""Of `quota_for`: 96 small requests of one user, or one request of the largest size."""

MAX_NAMES = 16
"""Containers that one request may name."""

_BYTES_OF_UNIT = 1024


def check_namespace(name: str, policy: Policy) -> None:
    """Check the syntax of a name, of a container or of another namespace.

    Raises:
        NamespaceNotFoundError: no namespace can have the name.
    """
    if not policy.is_reserved(name):
        check_name(name)
        return
    try:
        parse_engine_name(name, policy.engines)
    except NameError_ as error:
        raise NamespaceNotFoundError(str(error)) from error


def names_of_sent(sent: SentNamespaces, fd: int, uid: int, policy: Policy) -> list[str]:
    """List the policy's names of a namespace that a client sent. None of them is a container's.

    An entry of /run/netns can have a name that is reserved. It means nothing there.

    Raises:
        OSError: the descriptor can't be asked.
    """
    names = sent.names_of(fd, uid)
    return [name for name in names if not policy.is_reserved(name)] if policy.engines else names


def container_names(namespaces: Iterable[NamespaceRef], policy: Policy) -> list[str]:
    """List the names that an engine has to be asked for, each once."""
    if not policy.engines:
        return []
    reserved = [name for name in namespaces if isinstance(name, str) and policy.is_reserved(name)]
    return list(dict.fromkeys(reserved))


def refuse_number(names: list[str]) -> Refusal | None:
    """Refuse a request that names too many containers."""
    if len(names) <= MAX_NAMES:
        return None
    return Refusal(BAD_REQUEST, f"{len(names)} containers in one request; name at most {MAX_NAMES} in each")


def quota_for(names: list[str], fds: int, packet_bytes: int) -> TaskQuota:
    """Return what a request takes while an engine is asked: a unit for each container, descriptor and 1,024 bytes."""
    engine = names[0].partition(":")[0]
    amount = min(MAX_FOR_USER, len(names) + fds + packet_bytes // _BYTES_OF_UNIT)
    return TaskQuota(f"questions to {engine}", MAX_FOR_USER, amount, holds_all=True)


class Missing(NamedTuple):
    """A container that can't be used.

    Attributes:
        name: the name, with its engine.
        kind: the case, as in `EngineError`.
        reason: the cause and the remedy.
    """

    name: str
    kind: str
    reason: str

    def can_come(self) -> bool:
        """Return whether waiting makes sense."""
        return self.kind in ("no-such-container", "not-running")

    def refuse(self, specs: Iterable[SocketSpec] = ()) -> Refusal:
        """Return the refusal. An engine without an answer says nothing about the container."""
        code = OVERLOADED if self.kind == "unavailable" else NO_SUCH_NAMESPACE
        position = next((at for at, spec in enumerate(specs) if spec.namespace == self.name), None)
        return Refusal(code, self.reason, None, position, self.name)
