"""Takes one packet off a connection, and has it answered. This module trusts no part of the packet.

The intake looks at a packet before it takes it, so that it receives only as many descriptors as the request names. Any
others stay in the queue. They are dropped with the whole connection, in another thread, since this can take long.
"""

from __future__ import annotations

from nsbroker.link import fdpass
from nsbroker.wire import (
    BAD_REQUEST,
    NO_SUCH_NAMESPACE,
    OVERLOADED,
    ProtocolError,
    Request,
    decode_request,
    named_descriptors,
)

from ..clients.client import Client
from ..clients.closer import Closer
from ..clients.quotas import Quotas
from ..namespaces.netns import close_namespaces
from ..namespaces.sent_descriptors import SentNamespaces
from ..policy.plans import Refusal
from ..requests.dispatch import Dispatcher
from ..requests.operation import Received
from .tasks import Tasks


class Intake:
    """From a connection that has a packet to the request's reply or its task."""

    def __init__(self, dispatcher: Dispatcher, tasks: Tasks, closer: Closer, sent: SentNamespaces) -> None:
        self._dispatcher = dispatcher
        self._opening = dispatcher.opening
        self._tasks = tasks
        self._closer = closer
        self._sent = sent

    @property
    def is_busy(self) -> bool:
        """Whether some requests are served by tasks of their own."""
        return self._tasks.running > 0

    def record_counted(self) -> None:
        """Write the numbers of refusals without a record to the audit."""
        self._dispatcher.record_counted()

    def serve_one(self, client: Client, now: float, quotas: Quotas) -> bool:
        """Serve one packet of a client.

        Returns:
            Whether the connection can go on. It can't if the client is gone, or sent a packet that can't be skipped.

        Raises:
            OSError: the reply can't be delivered.
        """
        try:
            packet, is_too_long, brings_fds = fdpass.peek_packet(client.sock, quotas.packet_bytes)
        except BlockingIOError:
            return True
        if not packet and not brings_fds:
            return False
        is_within_rate = client.user.take_request(now, quotas.requests_per_second)
        if is_within_rate and not (is_too_long or brings_fds):
            known = self._opening.recall(client.peer.subject, packet)
            if known is not None:
                fdpass.discard_packet(client.sock)
                self._dispatcher.reply(client, known[0], self._opening.open_planned(client.peer, *known))
                return True
        try:
            if is_too_long:
                raise ProtocolError(f"packet of more than {quotas.packet_bytes} bytes")
            request = decode_request(packet)
            named = named_descriptors(request)
        except ProtocolError as error:
            refusal = Refusal(error.code, str(error), spec_index=error.index)
            if is_within_rate:
                return self._refuse_unread(client, error.request_id, refusal, brings_fds)
            return self._refuse_excess(client, error.request_id, quotas, brings_fds)
        if not is_within_rate:
            return self._refuse_excess(client, request.request_id, quotas, brings_fds)
        if brings_fds or named:
            return self._serve_with_fds(client, request, packet, named, brings_fds)
        fdpass.discard_packet(client.sock)
        self._serve(client, Received(client.peer, request, [], packet))
        return True

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
        refusal = Refusal(OVERLOADED, f"more than {quotas.requests_per_second} requests in a second; try again later")
        return self._refuse_unread(client, request_id, refusal, brings_fds, is_recorded=False)

    def _serve_with_fds(self, client: Client, request: Request, packet: bytes, named: int, brings_fds: bool) -> bool:
        if not named or not brings_fds:
            told = f"the request names {named} descriptors, but brings {'some' if brings_fds else 'none'}"
            return self._refuse_unread(client, request.request_id, Refusal(BAD_REQUEST, told), brings_fds)
        uid = client.user.uid
        if self._closer.is_full(uid):
            told = "too many descriptors that were sent can't be closed, because their file systems do not answer"
            return self._refuse_unread(client, request.request_id, Refusal(OVERLOADED, told), brings_fds)
        fds, more_came = fdpass.copy_fds(client.sock, named)
        if more_came:
            self._closer.take_fds(uid, fds)
            told = f"more descriptors came than the {named} that the request names"
            return self._refuse_unread(client, request.request_id, Refusal(BAD_REQUEST, told), brings_fds)
        try:
            fdpass.discard_packet(client.sock)  # this closes no file, since all of them are open here as well
        except OSError:  # the client hung up in between, with replies unread
            self._closer.take_fds(uid, fds)
            raise
        refusal = self._refuse_foreign(fds, named)
        if refusal is None:
            self._serve(client, Received(client.peer, request, fds, packet))
        else:
            self._closer.take_fds(uid, fds)
            self._dispatcher.refuse(client, request.request_id, refusal)
        return True

    def _refuse_foreign(self, fds: list[int], named: int) -> Refusal | None:
        if not all(map(self._sent.is_namespace, fds)):
            return Refusal(NO_SUCH_NAMESPACE, "a descriptor that was sent is no network namespace")
        if len(fds) != named:
            return Refusal(BAD_REQUEST, f"{len(fds)} descriptors came, but the request names {named}")
        return None

    def _serve(self, client: Client, received: Received[Request]) -> None:
        """Serve a request at once or in a task, and take over its descriptors, which are namespaces."""
        outcome = self._dispatcher.operation_of(received.request).serve(received)
        if outcome is None:
            outcome = self._tasks.start(client, received)
            if outcome is None:
                return
        close_namespaces(received.fds)
        self._dispatcher.reply(client, received.request, outcome)
