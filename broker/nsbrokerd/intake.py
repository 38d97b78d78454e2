"""Takes one packet off a connection, and sees that it is answered. Nothing here trusts the packet.

A packet is looked at before it is taken, so that only as many descriptors are received as its request names. Those
that nobody asked for stay in the queue, which another thread drops with the whole connection: that can take long.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Awaitable, Callable

import structlog
import trio

from nsbroker import fdpass
from nsbroker.wire import (
    BAD_REQUEST,
    NO_SUCH_NAMESPACE,
    OVERLOADED,
    BlobReply,
    NamespacesRequest,
    OpenRequest,
    ProtocolError,
    Request,
    ResolverRequest,
)

from .client import Client
from .closer import Closer
from .config import Limits
from .handler import Granted, Handler
from .mounts import MountChanges
from .session import Refusal, read_request, refuse
from .users import MAX_LISTING_FOR_USER, MAX_WAITING_FOR_USER

_RECHECK_S = 0.25
"""A waiting request looks this often anyhow: a symbolic link or a directory is no mount."""

_STOPPING = Refusal(OVERLOADED, "the broker is stopping; try again")

log = structlog.get_logger()


class Intake:
    """From a connection that has a packet to its reply."""

    def __init__(self, handler: Handler, closer: Closer) -> None:
        self._handler = handler
        self._closer = closer
        self._nursery: trio.Nursery | None = None

    def wait_in(self, nursery: trio.Nursery | None) -> None:
        """Use this nursery for the requests that can't be answered at once; None refuses them."""
        self._nursery = nursery

    def hang_up(self, uid: int, connection: socket.SocketType) -> None:
        """Close a connection; takes it over. Packets that were not read may bring descriptors: not here, then."""
        if fdpass.hang_up(connection):
            self._closer.take_connection(uid, connection.detach())
        else:
            connection.close()

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
        try:
            if is_too_long:
                raise ProtocolError(f"packet of more than {limits.packet_bytes} bytes")
            request, named = read_request(packet)
        except ProtocolError as error:
            return self._answer_unread(client, error.request_id, refuse(error), brings_fds)
        if not client.user.take_request(now, limits.requests_per_second):
            too_many = f"more than {limits.requests_per_second} requests in a second; try again later"
            return self._answer_unread(client, request.request_id, Refusal(OVERLOADED, too_many), brings_fds)
        if not (brings_fds or named):
            fdpass.discard_packet(client.sock)
            self._answer(client, request, [])
            return True
        return self._serve_with_fds(client, request, named, brings_fds)

    def _answer_unread(self, client: Client, request_id: int | None, refusal: Refusal, brings_fds: bool) -> bool:
        """Refuse a packet unseen. Without an id, or when it brings descriptors, the client can't be followed."""
        if brings_fds:
            request_id = None
        else:
            fdpass.discard_packet(client.sock)
        client.reply(self._handler.refuse(client.peer, request_id, "unread", refusal))
        return request_id is not None

    def _serve_with_fds(self, client: Client, request: Request, named: int, brings_fds: bool) -> bool:
        if not named or not brings_fds:
            told = f"the request names {named} descriptors, and brings {'some' if brings_fds else 'none'}"
            return self._answer_unread(client, request.request_id, Refusal(BAD_REQUEST, told), brings_fds)
        uid = client.user.uid
        if self._closer.is_full(uid):
            told = "descriptors that you sent can't be closed: your file system does not answer"
            return self._answer_unread(client, request.request_id, Refusal(OVERLOADED, told), brings_fds)
        fds, more_came = fdpass.copy_fds(client.sock, named)
        if more_came:
            self._closer.take_fds(uid, fds)
            told = f"more descriptors came than the {named} that the request names"
            return self._answer_unread(client, request.request_id, Refusal(BAD_REQUEST, told), brings_fds)
        fdpass.discard_packet(client.sock)  # that closes nothing, since everything in it is open here as well
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
            self._start(client, request, self._list_namespaces, [])
            return
        if isinstance(request, ResolverRequest):
            self._answer_resolver(client, request, fds)
            return
        outcome = self._handler.try_open(client.peer, request, fds)
        if request.wait_s and isinstance(outcome, Refusal) and outcome.code == NO_SUCH_NAMESPACE:
            self._start(client, request, self._open_when_there, fds)
            return
        _close(fds)
        self._deliver(client, request, outcome)

    def _answer_resolver(self, client: Client, request: ResolverRequest, fds: list[int]) -> None:
        answer = self._handler.resolver_files(client.peer, request, fds)
        _close(fds)
        if isinstance(answer, Refusal):
            client.reply(self._handler.refuse(client.peer, request.request_id, "resolver", answer))
            return
        try:
            client.reply(BlobReply(request.request_id, os.fstat(answer).st_size), [answer])
        finally:
            os.close(answer)

    def _deliver(self, client: Client, request: Request, outcome: Granted | Refusal) -> None:
        if isinstance(outcome, Refusal):
            operation, specs = ("open", request.sockets) if isinstance(request, OpenRequest) else ("namespaces", ())
            client.reply(self._handler.refuse(client.peer, request.request_id, operation, outcome, specs))
            return
        try:
            client.reply(outcome.reply, [one.sock.fileno() for one in outcome.opened])
        finally:
            outcome.close()

    def _start(self, client: Client, request: Request, work: _Work, fds: list[int]) -> None:
        """Begin a task for a request that may take long; takes over `fds`."""
        user, is_list = client.user, isinstance(request, NamespacesRequest)
        if self._nursery is None:
            refusal = _STOPPING
        elif is_list and user.listing >= MAX_LISTING_FOR_USER:
            refusal = Refusal(OVERLOADED, f"{MAX_LISTING_FOR_USER} lists for uid {user.uid} are being made already")
        elif not is_list and user.waiting >= MAX_WAITING_FOR_USER:
            told = f"{MAX_WAITING_FOR_USER} requests of uid {user.uid} wait already; try again later"
            refusal = Refusal(OVERLOADED, told)
        else:
            user.listing += is_list
            user.waiting += not is_list
            self._nursery.start_soon(self._work, client, request, work, fds)
            return
        _close(fds)
        self._deliver(client, request, refusal)

    async def _work(self, client: Client, request: Request, work: _Work, fds: list[int]) -> None:
        is_list = isinstance(request, NamespacesRequest)
        try:
            await work(client, request, fds)
        except trio.Cancelled:
            if not client.is_closed:
                with contextlib.suppress(OSError):
                    self._deliver(client, request, _STOPPING)
            raise
        except OSError as error:
            log.debug("client lost", uid=client.user.uid, pid=client.peer.pid, reason=str(error))
        finally:
            client.user.listing -= is_list
            client.user.waiting -= not is_list
            _close(fds)

    async def _open_when_there(self, client: Client, request: Request, fds: list[int]) -> None:
        """Try again after each mount, until the time is over."""
        if not isinstance(request, OpenRequest):
            raise TypeError("only sockets can be waited for")
        deadline = trio.current_time() + request.wait_s
        changes = MountChanges()
        try:
            while await _can_be_answered(client):
                outcome = self._handler.try_open(client.peer, request, fds)
                missing = isinstance(outcome, Refusal) and outcome.code == NO_SUCH_NAMESPACE
                if not missing or trio.current_time() >= deadline:
                    self._deliver(client, request, outcome)
                    return
                with trio.move_on_at(min(deadline, trio.current_time() + _RECHECK_S)):
                    await trio.lowlevel.wait_readable(changes.fd)
                changes.happened()
        finally:
            changes.close()

    async def _list_namespaces(self, client: Client, request: Request, _fds: list[int]) -> None:
        for fd in self._handler.list_namespaces(client.peer, request.request_id):
            if fd is None:
                await trio.lowlevel.checkpoint()
                continue
            try:
                if await _can_be_answered(client):
                    client.reply(BlobReply(request.request_id, os.fstat(fd).st_size), [fd])
            finally:
                os.close(fd)


_Work = Callable[[Client, Request, list[int]], Awaitable[None]]


def _close(fds: list[int]) -> None:
    """Close namespaces, which never blocks."""
    while fds:
        os.close(fds.pop())


async def _can_be_answered(client: Client) -> bool:
    """Wait until the client has read enough of its replies; False when it is gone."""
    while not client.is_closed and not client.reads_its_replies():
        await trio.sleep(_RECHECK_S)
    return not client.is_closed
