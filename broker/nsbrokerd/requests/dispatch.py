"""The table of operations, and the one path of their outcomes to clients: audit first, then the reply."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Sequence
from io import FileIO
from typing import Any

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

from ..clients.client import RECORD_BYTES, Client
from ..namespaces.netns import Gate
from ..namespaces.sent_descriptors import SentNamespaces
from ..policy.plans import Refusal
from ..sockets.time_slice import TimeSlice
from .answers import Answers, TooMuchHeldError
from .audit import AuditError
from .counted_refusals import MOST_RECORDS, MOST_USERS, CountedRefusals
from .explain import ExplainSocket
from .group_memory import MemoryOfAnswers
from .namespaces import ListNamespaces
from .open import OpenSockets
from .operation import Answer, InForce, Operation, Outcome, refuse_error
from .resolver import ReadResolverFiles
from .tally import Tally

UNREAD = "unread"
"""The operation of a request that was refused before it was decoded or before it was served, for the audit."""


COUNTED = "refusals"
"""The operation of a record that counts refusals without a record of their own."""


class Dispatcher:
    """Finds the operation of a request, and sends its outcome. All of this runs in the main thread.

    Attributes:
        answers: the answers that clients hold.
        opening: the operation `open`.
        tally: the numbers of the outcomes.
        time_slice: the time after which a request is cut.
    """

    def __init__(self, in_force: InForce, gate: Gate, sent: SentNamespaces) -> None:
        self._in_force = in_force
        self._counted = CountedRefusals()
        self.answers = Answers(MemoryOfAnswers())
        self.tally = Tally()
        self.time_slice = TimeSlice()
        self.opening = OpenSockets(in_force, gate, sent, self.time_slice)
        # Each operation serves the type of its key, and the packets' decoder knows no other types.
        self._operations: dict[type[Request], Operation[Any]] = {
            OpenRequest: self.opening,
            NamespacesRequest: ListNamespaces(in_force, sent),
            ResolverRequest: ReadResolverFiles(in_force, sent, self.time_slice, self.answers),
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
        files: Sequence[socket.SocketType | FileIO] = answer.files
        try:
            client.open_channel()
            if answer.blob is not None:
                files = (self.answers.open(client.person, answer.blob),)
            size = self._in_force.audit.allowed(client.peer, answer.reply.request_id, operation, answer.details)
            if size > RECORD_BYTES:
                client.person.charge_record(size)
        except AuditError as error:
            refusal = Refusal(
                OVERLOADED, f"the broker hands out no answer, because the audit can't be written: {error}"
            )
        except TooMuchHeldError as error:
            refusal = Refusal(OVERLOADED, str(error))
        except OSError as error:
            refusal = refuse_error(error)
        else:
            client.deliver(answer.reply, files)
            self.tally.answer(client.person, client.peer, operation, answer.opened)
            return None
        client.discard(files)
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
        """Record a refusal as `record_refusal`, and send it to the client.

        Raises:
            OSError: the reply can't be delivered.
        """
        self.record_refusal(client, request_id, refusal, operation, specs, is_recorded=is_recorded)
        client.refuse(ErrorReply(request_id, refusal.code, refusal.message, refusal.errno, refusal.spec_index))

    def record_unsent(self, client: Client, request: Request, refusal: Refusal) -> None:
        """Record the refusal of a request whose client is gone."""
        operation = self._operations[type(request)]
        self.record_refusal(client, request.request_id, refusal, operation.name, operation.specs_of(request))

    def record_refusal(
        self,
        client: Client,
        request_id: int | None,
        refusal: Refusal,
        operation: str = UNREAD,
        specs: Sequence[SocketSpec] = (),
        *,
        is_recorded: bool = True,
    ) -> None:
        """Record a refusal in the audit. Past a rate, the audit gets only the number."""
        person = client.person
        self.tally.refuse(person, refusal)
        if is_recorded and person.take_record(time.monotonic()):
            with contextlib.suppress(AuditError):  # the client gets no socket in any case
                size = self._in_force.audit.refused(client.peer, request_id, operation, refusal, specs)
                person.charge_record(size)
        else:
            self._counted.count(person, client.peer, refusal)

    def record_counted(self, *, at_end: bool = False) -> None:
        """Write records of refusals that were only counted: one for each of a few users, or of all of them at the end.

        Call this each second. This also forgets the answers that nobody holds any more.
        """
        self.answers.release_unused()
        self.tally.count()
        for one in self._counted.take(MOST_USERS + 1 if at_end else MOST_RECORDS):
            refusal = one.refusal._replace(spec_index=None)
            with contextlib.suppress(AuditError):
                self._in_force.audit.refused(
                    one.peer, None, COUNTED, refusal, count=one.number, is_of_several=one.is_of_several
                )
