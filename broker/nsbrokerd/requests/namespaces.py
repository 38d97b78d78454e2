"""The operation `namespaces`: a list of the namespaces that a client may use, and of its grants there."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from nsbroker.wire import NamespaceList, NamespacesRequest, encode_namespaces

from ..namespaces.netns import identity, list_names
from ..namespaces.sent_descriptors import SentNamespaces
from ..policy import Grant
from ..policy.grant import SPECIAL_NAMESPACES
from .audit import end_record
from .operation import InForce, IsAnswerable, Operation, Outcome, Received, make_blob, refuse_error

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
        grants = self._in_force.policy.grants_of(received.peer.subject)
        try:
            names = [*SPECIAL_NAMESPACES, *(sorted(list_names()) if grants else ())]
            entries: list[tuple[str, tuple[int, ...]]] = []
            for first in range(0, len(names), _NAMES_AT_ONCE):
                await trio.lowlevel.checkpoint()
                entries += self._match(grants, names[first : first + _NAMES_AT_ONCE])
            if not await is_answerable():
                return None
            answer = encode_namespaces(NamespaceList(tuple(grant.summarise() for grant in grants), tuple(entries)))
            return make_blob(received.request.request_id, answer, [end_record({})])
        except OSError as error:
            return refuse_error(error)

    def _match(self, grants: Sequence[Grant], names: Sequence[str]) -> list[tuple[str, tuple[int, ...]]]:
        """Pair each name with the positions of its grants, but only names that have a grant and a namespace."""
        found = []
        for name in names:
            indices = tuple(index for index, grant in enumerate(grants) if grant.namespaces.covers(name))
            if indices and (name in SPECIAL_NAMESPACES or self._sent.is_on_nsfs(identity(name))):
                found.append((name, indices))
        return found
