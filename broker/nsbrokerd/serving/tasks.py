"""The tasks of requests that can't be answered at once. Each user may have a few of them for each operation."""

from __future__ import annotations

import contextlib
import socket
from functools import partial

import structlog
import trio

from nsbroker.wire import OVERLOADED, Request

from ..clients.client import Client
from ..namespaces.netns import close_namespaces
from ..policy.plans import Refusal
from ..requests.dispatch import Dispatcher
from ..requests.operation import Received

_RECHECK_S = 0.25
"""How often a task looks whether its client has read its replies."""

_STOPPING = Refusal(OVERLOADED, "the broker is stopping; try again")

log = structlog.get_logger()


class Tasks:
    """Runs the tasks in a nursery. `running` is their number."""

    def __init__(self, dispatcher: Dispatcher, nursery: trio.Nursery) -> None:
        self._dispatcher = dispatcher
        self._nursery = nursery
        self.running = 0

    def start(self, client: Client, received: Received[Request]) -> Refusal | None:
        """Begin a task, which takes over the request's descriptors, or return a refusal."""
        operation, user = self._dispatcher.operation_of(received.request), client.user
        if self._nursery.cancel_scope.cancel_called:
            return _STOPPING
        if user.tasks[operation.name] >= operation.tasks_for_user:
            told = f"{operation.tasks_for_user} requests of uid {user.uid} for {operation.name!r} are in progress"
            return Refusal(OVERLOADED, f"{told} already; try again later")
        user.tasks[operation.name] += 1
        self.running += 1
        # Without the packet, which can be longer than the request in memory, and is of no use to a task.
        self._nursery.start_soon(self._run, client, received._replace(packet=b""))
        return None

    async def _run(self, client: Client, received: Received[Request]) -> None:
        operation = self._dispatcher.operation_of(received.request)
        try:
            outcome = await operation.serve_in_task(received, partial(_is_answerable, client))
            if outcome is not None:
                self._dispatcher.reply(client, received.request, outcome)
        except trio.Cancelled:
            if not client.is_closed:
                with contextlib.suppress(OSError):
                    self._dispatcher.reply(client, received.request, _STOPPING)
            raise
        except OSError as error:
            log.debug("client lost", uid=client.user.uid, pid=client.peer.pid, reason=str(error))
            with contextlib.suppress(OSError):
                client.sock.shutdown(socket.SHUT_RDWR)  # so that the hub drops it, and it does not wait for this reply
        finally:
            client.user.tasks[operation.name] -= 1
            self.running -= 1
            close_namespaces(received.fds)


async def _is_answerable(client: Client) -> bool:
    """Wait until the client has read enough of its replies, and return False if it is gone."""
    while not client.is_closed and not client.reads_its_replies():
        await trio.sleep(_RECHECK_S)
    return not client.is_closed
