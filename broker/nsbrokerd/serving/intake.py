"""Takes one packet off a connection, and has it answered. This module trusts no part of the packet.

The intake looks at a packet before it takes it. If the packet has descriptors, it is the person's porter that takes it,
and hands on only network namespaces. Packets that are refused unread are dropped with the whole connection, by the
porter as well.
"""

from __future__ import annotations

import errno
from collections.abc import Generator
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from nsbroker.link import fdpass
from nsbroker.wire import (
    BAD_REQUEST,
    NO_SUCH_NAMESPACE,
    OVERLOADED,
    OpenRequest,
    ProtocolError,
    Request,
    decode_request,
    named_descriptors,
)
from nsbroker.wire.long_requests import decode_in_steps, is_long

from ..clients.client import Client
from ..clients.closer import Closer
from ..clients.porter import Taken
from ..clients.porter_process import FOREIGN, LOST, MORE
from ..clients.quotas import Quotas
from ..namespaces.netns import close_namespaces
from ..policy.plans import Plan, Refusal
from ..requests.dispatch import Dispatcher
from ..requests.operation import Outcome, Received
from ..sockets.time_slice import AbandonedError, Awaited, Steps, pace, until_abandoned
from .tasks import Tasks

_TOO_MANY_HANG = Refusal(
    OVERLOADED,
    "the broker can't receive your descriptors now: earlier ones can't be closed, because their file systems do not"
    " answer, or too many users send some; try again later",
)


class Cut(NamedTuple):
    """A request that was cut before its end. It can go on as soon as `awaited` is done, or at once if that is None."""

    steps: Steps[bool]
    awaited: Awaited | None


class Intake:
    """From a connection that has a packet to the request's reply or its task."""

    def __init__(self, dispatcher: Dispatcher, tasks: Tasks, closer: Closer) -> None:
        self._dispatcher = dispatcher
        self._opening = dispatcher.opening
        self._time_slice = dispatcher.time_slice
        self._tasks = tasks
        self._closer = closer

    @property
    def is_busy(self) -> bool:
        """Whether some requests are served by tasks of their own."""
        return self._tasks.running > 0

    def record_counted(self, *, at_end: bool = False) -> None:
        """Write the numbers of refusals without a record to the audit: of a few users, or of all at the end."""
        self._dispatcher.record_counted(at_end=at_end)

    def serve_one(self, client: Client, now: float, quotas: Quotas) -> bool | Cut:
        """Serve one packet of a client, or a first piece of it.

        Returns:
            Whether the connection can go on. It can't if the client is gone, or sent a packet that can't be skipped.
            If the request was cut, the client must have no other one served before `resume` has ended it.

        Raises:
            OSError: the reply can't be delivered.
        """
        try:
            packet, is_too_long, brings_fds = fdpass.peek_packet(client.sock, quotas.packet_bytes)
        except BlockingIOError:
            return True
        if not packet and not brings_fds:
            return False
        is_within_rate = client.person.take_request(now, quotas.requests_per_second)
        if is_within_rate and not (is_too_long or brings_fds):
            known = self._opening.recall(client.peer.subject, packet)
            if known is not None:
                fdpass.discard_packet(client.sock)
                asked, planned = known
                if asked.stock:
                    return _advance(self._serve_stock(client, asked, planned))
                self._dispatcher.reply(
                    client, asked, self._opening.open_planned(client.peer, client.person, asked, planned)
                )
                return True
        self._time_slice.begin()
        if is_long(packet) and not is_too_long:
            return _advance(self._serve_long(client, packet, quotas, is_within_rate, brings_fds))
        try:
            if is_too_long:
                raise ProtocolError(f"packet of more than {quotas.packet_bytes} bytes")
            request = decode_request(packet)
            named = named_descriptors(request)
        except ProtocolError as error:
            return self._refuse_packet(client, error, quotas, is_within_rate, brings_fds)
        kept = self._serve_decoded(client, request, packet, named, quotas, is_within_rate, brings_fds)
        return kept if isinstance(kept, bool) else _advance(kept)

    def _serve_long(
        self, client: Client, packet: bytes, quotas: Quotas, is_within_rate: bool, brings_fds: bool
    ) -> Steps[bool]:
        """Serve a long packet. It stays in the connection's queue until it is decoded."""
        try:
            request = yield from pace(decode_in_steps(packet), self._time_slice)
            if self._time_slice.is_over():
                yield None
            named = named_descriptors(request)
        except ProtocolError as error:
            return self._refuse_packet(client, error, quotas, is_within_rate, brings_fds)
        except GeneratorExit:
            if not is_within_rate:
                self._dispatcher.record_refusal(client, None, _excess(quotas), is_recorded=False)
            raise
        kept = self._serve_decoded(client, request, packet, named, quotas, is_within_rate, brings_fds)
        return kept if isinstance(kept, bool) else (yield from kept)

    def _refuse_packet(
        self, client: Client, error: ProtocolError, quotas: Quotas, is_within_rate: bool, brings_fds: bool
    ) -> bool:
        if not is_within_rate:
            return self._refuse_excess(client, error.request_id, quotas, brings_fds)
        refusal = Refusal(error.code, str(error), spec_index=error.index)
        return self._refuse_unread(client, error.request_id, refusal, brings_fds)

    def _serve_decoded(
        self,
        client: Client,
        request: Request,
        packet: bytes,
        named: int,
        quotas: Quotas,
        is_within_rate: bool,
        brings_fds: bool,
    ) -> bool | Steps[bool]:
        if not is_within_rate:
            return self._refuse_excess(client, request.request_id, quotas, brings_fds)
        if brings_fds or named:
            return self._serve_with_fds(client, request, packet, named, brings_fds)
        fdpass.discard_packet(client.sock)
        return self._serve(client, Received(client.peer, request, [], packet, client.person))

    def resume(self, cut: Cut) -> bool | Cut:
        """Serve another piece of a request that was cut. Results and errors are those of `serve_one`."""
        self._time_slice.begin()
        return _advance(cut.steps)

    def _refuse_unread(
        self, client: Client, request_id: int | None, refusal: Refusal, brings_fds: bool, *, is_recorded: bool = True
    ) -> bool:
        """Refuse a packet. If its id is unknown or it brings descriptors, it can't be skipped."""
        if brings_fds:
            request_id = None
        else:
            fdpass.discard_packet(client.sock)
        self._dispatcher.refuse(client, request_id, refusal, is_recorded=is_recorded)
        return request_id is not None

    def _refuse_excess(self, client: Client, request_id: int | None, quotas: Quotas, brings_fds: bool) -> bool:
        """Refuse a request beyond the rate. The audit only counts it."""
        return self._refuse_unread(client, request_id, _excess(quotas), brings_fds, is_recorded=False)

    def _serve_with_fds(
        self, client: Client, request: Request, packet: bytes, named: int, brings_fds: bool
    ) -> bool | Steps[bool]:
        if not named or not brings_fds:
            told = f"the request names {named} descriptors, but brings {'some' if brings_fds else 'none'}"
            return self._refuse_unread(client, request.request_id, Refusal(BAD_REQUEST, told), brings_fds)
        taken = self._closer.take_fds(client.person, client.sock, named)
        if taken is None:
            return self._refuse_unread(client, request.request_id, _TOO_MANY_HANG, brings_fds)
        client.is_at_porter = True
        return self._serve_taken(client, request, packet, named, taken)

    def _serve_taken(self, client: Client, request: Request, packet: bytes, named: int, taken: Taken) -> Steps[bool]:
        """Wait until the porter has taken the packet, and go on with the descriptors that it hands on."""
        try:
            yield taken
        except BaseException:
            # A client that hangs up when its porter has answered does not avoid the record of the refusal.
            if (refusal := _refusal_by_porter(taken, named)) is not None:
                self._dispatcher.record_refusal(client, request.request_id, refusal)
            taken.abandon()
            raise
        if taken.answer is None:
            taken.abandon()
            return self._refuse_unread(client, None, _TOO_MANY_HANG, brings_fds=True)
        client.is_at_porter = False
        if taken.answer == LOST:
            raise ConnectionResetError("the connection or its porter has ended")
        if (refusal := _refusal_by_porter(taken, named)) is not None:
            if taken.answer == MORE:
                return self._refuse_unread(client, None, refusal, brings_fds=True)
            self._dispatcher.refuse(client, request.request_id, refusal)
            return True
        fds = taken.fds
        if len(fds) != named:
            close_namespaces(fds)
            told = f"{len(fds)} descriptors came, but the request names {named}"
            self._dispatcher.refuse(client, request.request_id, Refusal(BAD_REQUEST, told))
            return True
        kept = self._serve(client, Received(client.peer, request, fds, packet, client.person))
        return kept if isinstance(kept, bool) else (yield from kept)

    def _serve(self, client: Client, received: Received[Request]) -> bool | Steps[bool]:
        """Serve a request at once, in steps or in a task, and take over its descriptors, which are namespaces."""
        outcome = self._dispatcher.operation_of(received.request).serve(received)
        if isinstance(outcome, Generator):
            return self._serve_in_steps(client, received, outcome)
        self._end(client, received, outcome)
        return True

    def _serve_stock(self, client: Client, request: OpenRequest, planned: Plan) -> Steps[bool]:
        """Serve a request for a stock whose plan is known."""
        self._time_slice.begin()
        received = Received(client.peer, request, [], b"", client.person)
        steps: Steps[Outcome | None] = self._opening.open_recalled(received, planned)
        return self._serve_in_steps(client, Received[Request](*received), steps)

    def _serve_in_steps(self, client: Client, received: Received[Request], steps: Steps[Outcome | None]) -> Steps[bool]:
        """Serve a request in steps. If its client hangs up at a cut, a refusal that stands by then is recorded."""
        deciding = until_abandoned(self._decide(steps), partial(self._record, client, received))
        try:
            outcome = yield from deciding
        except BaseException:
            close_namespaces(received.fds)
            raise
        self._end(client, received, outcome)
        return True

    def _decide(self, steps: Steps[Outcome | None]) -> Steps[Outcome | None]:
        """Take the steps of a request, and let others go first before a refusal is written and sent."""
        outcome = yield from steps
        if isinstance(outcome, Refusal) and self._time_slice.is_over():
            with suppress(AbandonedError):
                yield None  # to write and send a refusal takes as long as all before
        return outcome

    def _record(self, client: Client, received: Received[Request], outcome: Outcome | None) -> None:
        """Record the refusal of a request whose client is gone. Nothing else was done for it that lasts."""
        if isinstance(outcome, Refusal):
            self._dispatcher.record_unsent(client, received.request, outcome)

    def _end(self, client: Client, received: Received[Request], outcome: Outcome | None) -> None:
        """Answer a request, or start its task. Nothing is cut here: the audit record and the reply belong together."""
        if outcome is None:
            if self._tasks.are_ending:
                # Without an answer, the client asks the next broker. Any answer but the sockets would be a failure.
                close_namespaces(received.fds)
                raise ConnectionResetError(errno.ECONNRESET, "the broker is stopping")
            outcome = self._tasks.start(client, received)
            if outcome is None:
                return
        close_namespaces(received.fds)
        self._dispatcher.reply(client, received.request, outcome)


def _excess(quotas: Quotas) -> Refusal:
    return Refusal(OVERLOADED, f"more than {quotas.requests_per_second} requests in a second; try again later")


def _refusal_by_porter(taken: Taken, named: int) -> Refusal | None:
    """Return why a packet is refused that the porter has looked at, or None."""
    if taken.answer == MORE:
        return Refusal(BAD_REQUEST, f"more descriptors came than the {named} that the request names")
    if taken.answer == FOREIGN:
        return Refusal(NO_SUCH_NAMESPACE, "a descriptor that was sent is no network namespace")
    return None


def _advance(steps: Steps[bool]) -> bool | Cut:
    try:
        return Cut(steps, next(steps))
    except StopIteration as end:
        return bool(end.value)
