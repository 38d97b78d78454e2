"""Takes one packet off a connection, and sees that it is answered. Nothing here trusts the packet.

A packet is looked at before it is taken, so that only as many descriptors are received as its request names. Those
that nobody asked for stay in the queue, which another thread drops with the whole connection: that can take long.
"""

from __future__ import annotations

import os
import socket

import trio

from nsbroker.link import fdpass
from nsbroker.wire import (
    BAD_REQUEST,
    NO_SUCH_NAMESPACE,
    OVERLOADED,
    BlobReply,
    ErrorReply,
    NamespacesRequest,
    ProtocolError,
    Request,
    ResolverRequest,
)

from ..clients.client import Client
from ..clients.closer import Closer
from ..config import Limits
from ..namespaces.netns import close_namespaces
from ..policy.plans import Refusal, refuse
from ..requests.delivery import Delivery
from ..requests.handler import Handler
from ..requests.reader import RequestReader
from .tasks import SlowRequests


class Intake:
    """From a connection that has a packet to its reply."""

    def __init__(self, handler: Handler, closer: Closer) -> None:
        self._handler = handler
        self._closer = closer
        self._reader = RequestReader()
        self._delivery = Delivery(handler)
        self._slow = SlowRequests(handler, self._delivery)

    def wait_in(self, nursery: trio.Nursery | None) -> None:
        """Use this nursery for the requests that can't be answered at once; None refuses them."""
        self._slow.run_in(nursery)

    def hang_up(self, uid: int, connection: socket.SocketType) -> None:
        """Close a connection; takes it over. Packets that were not read may bring descriptors: not here, then."""
        if fdpass.hang_up(connection):
            self._closer.take_connection(uid, connection.detach())
        else:
            connection.close()

    @property
    def is_busy(self) -> bool:
        """Tell whether there are requests that are served by tasks of their own."""
        return self._slow.running > 0

    @property
    def hanging(self) -> int:
        """Count the connections that could not be closed at once."""
        return self._closer.connections

    def interrupt(self) -> None:
        """Hurry what takes long to close, now and then."""
        self._closer.interrupt()

    def serve_one(self, client: Client, now: float, limits: Limits) -> bool:
        """Serve one packet of a client; False when it is gone, or can't be followed any further.

        Raises:
            OSError: the reply can't be delivered.
        """
        try:
            packet, is_too_long, brings_fds = fdpass.peek_packet(client.sock, limits.packet_bytes)
        except BlockingIOError:
            return True
        if not packet and not brings_fds:
            return False
        is_within_rate = client.user.take_request(now, limits.requests_per_second)
        try:
            if is_too_long:
                raise ProtocolError(f"packet of more than {limits.packet_bytes} bytes")
            request, named = self._reader.read(packet)
        except ProtocolError as error:
            if is_within_rate:
                return self._answer_unread(client, error.request_id, refuse(error), brings_fds)
            return self._answer_excess(client, error.request_id, now, limits, brings_fds)
        if not is_within_rate:
            return self._answer_excess(client, request.request_id, now, limits, brings_fds)
        if not (brings_fds or named):
            fdpass.discard_packet(client.sock)
            self._answer(client, request, [])
            return True
        return self._serve_with_fds(client, request, named, brings_fds)

    def _answer_unread(
        self, client: Client, request_id: int | None, refusal: Refusal, brings_fds: bool, is_recorded: bool = True
    ) -> bool:
        """Refuse a packet unseen. Without an id, or when it brings descriptors, the client can't be followed."""
        if brings_fds:
            request_id = None
        else:
            fdpass.discard_packet(client.sock)
        if is_recorded:
            reply = self._handler.refuse(client.peer, request_id, "unread", refusal)
        else:
            reply = ErrorReply(request_id, refusal.code, refusal.message)
        client.reply(reply)
        return request_id is not None

    def _answer_excess(
        self, client: Client, request_id: int | None, now: float, limits: Limits, brings_fds: bool
    ) -> bool:
        """Refuse what is past the rate. The audit has one of these for each user and second: all would fill it."""
        text = f"more than {limits.requests_per_second} requests in a second; try again later"
        unrecorded = client.user.count_excess(now)
        if unrecorded:
            text += f" (and {unrecorded} more, which have no record)"
        return self._answer_unread(
            client, request_id, Refusal(OVERLOADED, text), brings_fds, is_recorded=unrecorded is not None
        )

    def _serve_with_fds(self, client: Client, request: Request, named: int, brings_fds: bool) -> bool:
        if not named or not brings_fds:
            told = f"the request names {named} descriptors, and brings {'some' if brings_fds else 'none'}"
            return self._answer_unread(client, request.request_id, Refusal(BAD_REQUEST, told), brings_fds)
        uid = client.user.uid
        if self._closer.is_full(uid):
            told = "too many descriptors that were sent can't be closed: their file systems do not answer"
            return self._answer_unread(client, request.request_id, Refusal(OVERLOADED, told), brings_fds)
        fds, more_came = fdpass.copy_fds(client.sock, named)
        if more_came:
            self._closer.take_fds(uid, fds)
            told = f"more descriptors came than the {named} that the request names"
            return self._answer_unread(client, request.request_id, Refusal(BAD_REQUEST, told), brings_fds)
        try:
            fdpass.discard_packet(client.sock)  # that closes nothing, since everything in it is open here as well
        except OSError:  # the client hung up in between, with replies unread
            self._closer.take_fds(uid, fds)
            raise
        refusal = self._refuse_foreign(fds, named)
        if refusal is None:
            self._answer(client, request, fds)
        else:
            self._closer.take_fds(uid, fds)
            client.reply(self._handler.refuse(client.peer, request.request_id, "unread", refusal))
        return True

    def _refuse_foreign(self, fds: list[int], named: int) -> Refusal | None:
        if not all(map(self._handler.is_namespace, fds)):
            return Refusal(NO_SUCH_NAMESPACE, "a descriptor that was sent is no network namespace")
        if len(fds) != named:
            return Refusal(BAD_REQUEST, f"{len(fds)} descriptors came; the request names {named}")
        return None

    def _answer(self, client: Client, request: Request, fds: list[int]) -> None:
        """Answer, at once or in a task; takes over `fds`, which are namespaces."""
        if isinstance(request, NamespacesRequest):
            self._slow.start(client, request, [])
            return
        if isinstance(request, ResolverRequest):
            self._answer_resolver(client, request, fds)
            return
        outcome = self._handler.try_open(client.peer, request, fds)
        if request.wait_s and isinstance(outcome, Refusal) and outcome.code == NO_SUCH_NAMESPACE:
            self._slow.start(client, request, fds)
            return
        close_namespaces(fds)
        self._delivery.deliver(client, request, outcome)

    def _answer_resolver(self, client: Client, request: ResolverRequest, fds: list[int]) -> None:
        answer = self._handler.resolver_files(client.peer, request, fds)
        close_namespaces(fds)
        if isinstance(answer, Refusal):
            client.reply(self._handler.refuse(client.peer, request.request_id, "resolver", answer))
            return
        try:
            client.reply(BlobReply(request.request_id, os.fstat(answer).st_size), [answer])
        finally:
            os.close(answer)
