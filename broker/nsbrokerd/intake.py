"""Takes one packet off a connection, and sees that it is answered. Nothing here trusts the packet.

A packet is looked at before it is taken, so that only as many descriptors are received as its request names: those
that nobody asked for are dropped by the kernel, which never blocks, while closing them here might.
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
    MAX_PACKET_BYTES,
    NO_SUCH_NAMESPACE,
    OVERLOADED,
    BlobReply,
    NamespacesRequest,
    OpenRequest,
    ProtocolError,
    Request,
)

from .client import Client
from .closer import Closer
from .config import Limits
from .handler import Granted, Handler
from .mounts import MountChanges
from .session import Refusal, read_request, refuse
from .users import MAX_WAITING_FOR_USER

_RECHECK_S = 0.25
"""A waiting request looks this often anyhow: a symbolic link or a directory is no mount."""

_DONTWAIT = int(socket.MSG_DONTWAIT)

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
            return self._answer_unread(client, error.request_id, refuse(error))
        if not client.user.take_request(now, limits.requests_per_second):
            too_many = f"more than {limits.requests_per_second} requests in a second; try again later"
            return self._answer_unread(client, request.request_id, Refusal(OVERLOADED, too_many))
        if not (brings_fds or named):
            fdpass.discard_packet(client.sock)
            self._answer(client, request, [])
            return True
        return self._serve_with_fds(client, request, named, brings_fds)

    def _answer_unread(self, client: Client, request_id: int | None, refusal: Refusal) -> bool:
        """Drop the packet with all that it brings, and refuse; without an id the client can't be followed."""
        fdpass.discard_packet(client.sock)
        client.reply(self._handler.refuse(client.peer, request_id, "unread", refusal))
        return request_id is not None

    def _serve_with_fds(self, client: Client, request: Request, named: int, brings_fds: bool) -> bool:
        if not named or not brings_fds:
            told = f"the request names {named} descriptors, and brings {'some' if brings_fds else 'none'}"
            return self._answer_unread(client, request.request_id, Refusal(BAD_REQUEST, told))
        uid = client.user.uid
        if self._closer.is_full(uid):
            told = "descriptors that you sent can't be closed: your file system does not answer"
            return self._answer_unread(client, request.request_id, Refusal(OVERLOADED, told))
        fds = self._take_namespaces(client, named)
        if isinstance(fds, Refusal):
            client.reply(self._handler.refuse(client.peer, request.request_id, "unread", fds))
        else:
            self._answer(client, request, fds)
        return True

    def _take_namespaces(self, client: Client, named: int) -> list[int] | Refusal:
        """Take the packet with its descriptors; the caller owns them. What is no namespace is closed elsewhere."""
        fds: list[int] = []
        try:
            _, fds = fdpass.take_packet(client.sock, MAX_PACKET_BYTES, named, _DONTWAIT, fds.append)
        except fdpass.TruncatedError:
            refusal = Refusal(BAD_REQUEST, f"more descriptors came than the {named} that the request names")
        else:
            foreign = [fd for fd in fds if not self._handler.is_namespace(fd)]
            if not foreign and len(fds) == named:
                return fds
            refusal = Refusal(NO_SUCH_NAMESPACE, "a descriptor that was sent is no network namespace")
            if not foreign:
                refusal = Refusal(BAD_REQUEST, f"{len(fds)} descriptors came; the request names {named}")
        self._closer.take_fds(client.user.uid, fds)
        return refusal

    def _answer(self, client: Client, request: Request, fds: list[int]) -> None:
        """Answer, at once or in a task; takes over `fds`, which are namespaces."""
        if isinstance(request, NamespacesRequest):
            self._start(client, request, self._list_namespaces, [])
            return
        outcome = self._handler.try_open(client.peer, request, fds)
        if request.wait_s and isinstance(outcome, Refusal) and outcome.code == NO_SUCH_NAMESPACE:
            self._start(client, request, self._open_when_there, fds)
            return
        _close(fds)
        self._deliver(client, request.request_id, outcome)

    def _deliver(self, client: Client, request_id: int, outcome: Granted | Refusal) -> None:
        if isinstance(outcome, Refusal):
            client.reply(self._handler.refuse(client.peer, request_id, "open", outcome))
            return
        try:
            client.reply(outcome.reply, [one.sock.fileno() for one in outcome.opened])
        finally:
            outcome.close()

    def _start(self, client: Client, request: Request, work: _Work, fds: list[int]) -> None:
        """Begin a task for a request that may take long; takes over `fds`."""
        if self._nursery is None or client.user.waiting >= MAX_WAITING_FOR_USER:
            _close(fds)
            told = f"{MAX_WAITING_FOR_USER} requests of uid {client.user.uid} wait already; try again later"
            self._deliver(client, request.request_id, Refusal(OVERLOADED, told))
            return
        client.user.waiting += 1
        self._nursery.start_soon(self._work, client, request, work, fds)

    async def _work(self, client: Client, request: Request, work: _Work, fds: list[int]) -> None:
        try:
            await work(client, request, fds)
        except trio.Cancelled:
            if not client.is_closed:
                with contextlib.suppress(OSError):
                    stopping = Refusal(OVERLOADED, "the broker is stopping; try again")
                    self._deliver(client, request.request_id, stopping)
            raise
        except OSError as error:
            log.debug("client lost", uid=client.user.uid, pid=client.peer.pid, reason=str(error))
        finally:
            client.user.waiting -= 1
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
                    self._deliver(client, request.request_id, outcome)
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
