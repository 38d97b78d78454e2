"""The table of operations, and the one path of their outcomes to clients: audit first, then the reply."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from nsbroker.wire import (
    OVERLOADED,
    ErrorReply,
    ExplainRequest,
    NamespacesRequest,
    OpenRequest,
    Request,
    ResolverRequest,
    SocketSpec,
)

from ..clients.client import RECORD_BYTES, Client, User
from ..clients.peer import Peer
from ..namespaces.netns import Gate
from ..namespaces.sent_descriptors import SentNamespaces
from ..policy.plans import Refusal
from .audit import AuditError
from .explain import ExplainSocket
from .namespaces import ListNamespaces
from .open import OpenSockets
from .operation import Answer, InForce, Operation, Outcome, refuse_error
from .resolver import ReadResolverFiles

UNREAD = "unread"
"""The operation of a request that was refused before it was decoded or before it was served, for the audit."""


COUNTED = "refusals"
"""The operation of a record that counts refusals without a record of their own."""


class Counted(NamedTuple):
    """Refusals of one user without a record: their number, and the last of them with its client."""

    number: int
    peer: Peer
    refusal: Refusal


class Dispatcher:
    """Finds the operation of a request, and sends its outcome. All of this runs in the main thread."""

    def __init__(self, in_force: InForce, gate: Gate, sent: SentNamespaces) -> None:
        self._in_force = in_force
        self._counted: dict[User, Counted] = {}
        self.opening = OpenSockets(in_force, gate, sent)
        # Each operation serves the type of its key, and the packets' decoder knows no other types.
        self._operations: dict[type[Request], Operation[Any]] = {
            OpenRequest: self.opening,
            NamespacesRequest: ListNamespaces(in_force, sent),
            ResolverRequest: ReadResolverFiles(in_force, sent),
            ExplainRequest: ExplainSocket(in_force, sent),
        }

    def operation_of(self, request: Request) -> Operation[Any]:
        """Return the operation that serves a request."""
        return self._operations[type(request)]

    def reply(self, client: Client, request: Request, outcome: Outcome) -> None:
        """Record the outcome of a request in the audit, send it to the client, and close its files.

        Raises:
            OSError: the reply can't be delivered.
        """
        operation = self._operations[type(request)]
        refusal = outcome if isinstance(outcome, Refusal) else self._hand_out(client, operation.name, outcome)
        if refusal is not None:
            self.refuse(client, request.request_id, refusal, operation.name, operation.specs_of(request))

    def _hand_out(self, client: Client, operation: str, answer: Answer) -> Refusal | None:
        """Record an answer and deliver it, or close its files and return a refusal."""
        try:
            client.open_channel()
            size = self._in_force.audit.allowed(client.peer, answer.reply.request_id, operation, answer.details)
            if size > RECORD_BYTES:
                client.user.charge_record(size)
        except AuditError as error:
            refusal = Refusal(
                OVERLOADED, f"the broker hands out no answer, because the audit can't be written: {error}"
            )
        except OSError as error:
            refusal = refuse_error(error)
        else:
            client.deliver(answer.reply, answer.files)
            return None
        for file in answer.files:
            file.close()
        return refusal

    def refuse(
        self,
        client: Client,
        request_id: int | None,
        refusal: Refusal,
        operation: str = UNREAD,
        specs: Sequence[SocketSpec] = (),
        *,
        is_recorded: bool = True,
    ) -> None:
        """Record a refusal in the audit, and send it to the client. Past a rate, the audit gets only the number.

        Raises:
            OSError: the reply can't be delivered.
        """
        user = client.user
        if is_recorded and user.take_record(time.monotonic()):
            with contextlib.suppress(AuditError):  # the client gets no socket in any case
                size = self._in_force.audit.refused(client.peer, request_id, operation, refusal, specs)
                user.charge_record(size)
        else:
            former = self._counted.get(user)
            self._counted[user] = Counted(1 + (former.number if former else 0), client.peer, refusal)
        client.refuse(ErrorReply(request_id, refusal.code, refusal.message, refusal.errno, refusal.spec_index))

    def record_counted(self) -> None:
        """Write one record for all refusals of a user that were only counted. Call this each second, and at the end."""
        counted, self._counted = self._counted, {}
        for number, peer, refusal in counted.values():
            with contextlib.suppress(AuditError):
                self._in_force.audit.refused(peer, None, COUNTED, refusal._replace(spec_index=None), count=number)
