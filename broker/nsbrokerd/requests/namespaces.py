"""The operation `namespaces`: a list of the namespaces that a client may use, and of its grants there."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from nsbroker.wire import NamespaceList, NamespacesRequest, encode_namespaces

from ..clients.client import Person
from ..namespaces.netns import identity, list_names
from ..namespaces.sent_descriptors import SentNamespaces
from ..policy import Grant
from ..policy.grant import SPECIAL_NAMESPACES
from .audit import end_record
from .operation import InForce, Operation, Outcome, Received, answer_blob, refuse_error
from .task import IsAnswerable

MAX_LISTING_FOR_USER = 8
"""Lists for one user that may be made at the same time. Each holds a task."""

_NAMES_AT_ONCE = 256


class ListNamespaces(Operation[NamespacesRequest]):
    """Matches the grants of a client with the names of all namespaces. With thousands of names this takes a while."""

    name = "namespaces"
    tasks_for_user = MAX_LISTING_FOR_USER

    def __init__(self, in_force: InForce, sent: SentNamespaces) -> None:
        self._in_force = in_force
        self._sent = sent

    def serve(self, received: Received[NamespacesRequest]) -> None:
        """Leave it to a task."""

    async def serve_in_task(self, received: Received[NamespacesRequest], is_answerable: IsAnswerable) -> Outcome | None:
        """Make the list. Other clients are served after every few hundred names."""
        policy = self._in_force.policy
        grants = policy.grants_of(received.peer.subject)
        try:
            entries = [name for name in sorted(list_names()) if not policy.is_reserved(name)] if grants else []
            names = [*SPECIAL_NAMESPACES, *entries]
            listed: list[tuple[str, tuple[int, ...]]] = []
            for first in range(0, len(names), _NAMES_AT_ONCE):
                await trio.lowlevel.checkpoint()
                listed += self._match(grants, names[first : first + _NAMES_AT_ONCE])
            running, faults = await self._ask_engines(grants, received.person, is_answerable)
            for first in range(0, len(running), _NAMES_AT_ONCE):
                await trio.lowlevel.checkpoint()
                listed += _pair(grants, running[first : first + _NAMES_AT_ONCE])
            if not await is_answerable():
                return None
            summaries = tuple(grant.summarise() for grant in grants)
            states = faults if received.request.engines else {}
            answer = encode_namespaces(NamespaceList(summaries, tuple(listed), states))
            return answer_blob(received.request.request_id, answer, [end_record({})])
        except OSError as error:
            return refuse_error(error)

    async def _ask_engines(
        self, grants: Sequence[Grant], person: Person, is_answerable: IsAnswerable
    ) -> tuple[list[str], dict[str, str]]:
        """Ask the engines that a grant is for. Return the containers that run, and the faults of engines."""
        finder = self._in_force.finder
        if finder is None:
            return [], {}
        engines = [one for one in finder.states if any(grant.namespaces.covers_some_of(one) for grant in grants)]
        return await finder.running(engines, person, is_answerable)

    def _match(self, grants: Sequence[Grant], names: Sequence[str]) -> list[tuple[str, tuple[int, ...]]]:
        """Pair each name with the positions of its grants, but only names that have a grant and a namespace."""
        return [
            (name, indices)
            for name, indices in _pair(grants, names)
            if name in SPECIAL_NAMESPACES or self._sent.is_on_nsfs(identity(name))
        ]


def _pair(grants: Sequence[Grant], names: Sequence[str]) -> list[tuple[str, tuple[int, ...]]]:
    """Pair each name with the positions of its grants, but only names that have a grant."""
    found = []
    for name in names:
        indices = tuple(index for index, grant in enumerate(grants) if grant.namespaces.covers(name))
        if indices:
            found.append((name, indices))
    return found
