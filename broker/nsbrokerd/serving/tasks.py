"""Requests that can't be answered at once: each has a task of its own, and each user a few of them."""

from __future__ import annotations

import contextlib
import os
import socket

import structlog
import trio

from nsbroker.wire import NO_SUCH_NAMESPACE, OVERLOADED, BlobReply, NamespacesRequest, OpenRequest

from ..clients.client import Client
from ..clients.users import MAX_LISTING_FOR_USER, MAX_WAITING_FOR_USER
from ..namespaces.mounts import MountChanges
from ..namespaces.netns import close_namespaces
from ..policy.plans import Refusal
from ..requests.delivery import Delivery
from ..requests.handler import Handler

_RECHECK_S = 0.25
"""A waiting request looks this often anyhow: a symbolic link or a directory is no mount."""

_STOPPING = Refusal(OVERLOADED, "the broker is stopping; try again")

log = structlog.get_logger()


class SlowRequests:
    """The tasks of requests that wait for a namespace, and of lists of all namespaces; `running` counts them."""

    def __init__(self, handler: Handler, delivery: Delivery) -> None:
        self._handler = handler
        self._delivery = delivery
        self._nursery: trio.Nursery | None = None
        self.running = 0

    def run_in(self, nursery: trio.Nursery | None) -> None:
        """Use this nursery from now on; None refuses them."""
        self._nursery = nursery

    def start(self, client: Client, request: OpenRequest | NamespacesRequest, fds: list[int]) -> None:
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
            self.running += 1
            self._nursery.start_soon(self._work, client, request, fds)
            return
        close_namespaces(fds)
        self._delivery.deliver(client, request, refusal)

    async def _work(self, client: Client, request: OpenRequest | NamespacesRequest, fds: list[int]) -> None:
        is_list = isinstance(request, NamespacesRequest)
        try:
            if isinstance(request, NamespacesRequest):
                await self._list_namespaces(client, request)
            else:
                await self._open_when_there(client, request, fds)
        except trio.Cancelled:
            if not client.is_closed:
                with contextlib.suppress(OSError):
                    self._delivery.deliver(client, request, _STOPPING)
            raise
        except OSError as error:
            log.debug("client lost", uid=client.user.uid, pid=client.peer.pid, reason=str(error))
            with contextlib.suppress(OSError):
                client.sock.shutdown(socket.SHUT_RDWR)  # the hub drops it: else it would wait for this reply
        finally:
            client.user.listing -= is_list
            client.user.waiting -= not is_list
            self.running -= 1
            close_namespaces(fds)

    async def _open_when_there(self, client: Client, request: OpenRequest, fds: list[int]) -> None:
        """Try again after each mount, until the time is over."""
        deadline = trio.current_time() + request.wait_s
        changes = MountChanges()
        try:
            while await _can_be_answered(client):
                outcome = self._handler.try_open(client.peer, request, fds)
                missing = isinstance(outcome, Refusal) and outcome.code == NO_SUCH_NAMESPACE
                if not missing or trio.current_time() >= deadline:
                    self._delivery.deliver(client, request, outcome)
                    return
                with trio.move_on_at(min(deadline, trio.current_time() + _RECHECK_S)):
                    await trio.lowlevel.wait_readable(changes.fd)
                changes.happened()
        finally:
            changes.close()

    async def _list_namespaces(self, client: Client, request: NamespacesRequest) -> None:
        for fd in self._handler.list_namespaces(client.peer, request.request_id):
            if fd is None:
                await trio.lowlevel.checkpoint()
                continue
            try:
                if await _can_be_answered(client):
                    client.reply(BlobReply(request.request_id, os.fstat(fd).st_size), [fd])
            finally:
                os.close(fd)


async def _can_be_answered(client: Client) -> bool:
    """Wait until the client has read enough of its replies; False when it is gone."""
    while not client.is_closed and not client.reads_its_replies():
        await trio.sleep(_RECHECK_S)
    return not client.is_closed
