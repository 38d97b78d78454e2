"""The form of an operation: it takes a request that was received, and returns an answer or a refusal.

To add an operation, write a subclass of `Operation` in its own module, and add it to the table in `dispatch`.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from io import FileIO
from typing import Generic, NamedTuple, TypeVar

import trio

from nsbroker.wire import OS_ERROR, OVERLOADED, BlobReply, OpenReply, Request, SocketSpec

from ..clients.client import Person
from ..clients.peer import Peer
from ..namespaces.netns import DESCRIPTORS_USED_UP
from ..policy import Policy
from ..policy.plans import Refusal
from ..sockets.batch import Opened
from ..sockets.opener import Opener
from ..sockets.time_slice import Steps, TimeSlice
from .answers import MAX_ANSWER_BYTES
from .audit import Audit
from .task import IsAnswerable, TaskQuota

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .container_finder import ContainerFinder  # loads only if an engine is switched on

R = TypeVar("R", bound=Request)
T = TypeVar("T")


@dataclass(slots=True)
class InForce:
    """The parts of the last good configuration that requests are served by. A reload replaces them.

    `finder` asks the engines that are switched on. It is None if there are none.
    """

    policy: Policy
    opener: Opener
    audit: Audit
    finder: ContainerFinder | None = None

    def replace(self, policy: Policy, opener: Opener, audit: Audit, finder: ContainerFinder | None = None) -> None:
        """Serve by these from now on."""
        self.policy, self.opener, self.audit, self.finder = policy, opener, audit, finder


class Received(NamedTuple, Generic[R]):
    """A request, the identity of its client, and the packet that it came in.

    `fds` are the descriptors that it names. They are network namespaces, and only lent to an operation. `person` is the
    user of the client, with all its user ids.
    """

    peer: Peer
    request: R
    fds: list[int]
    packet: bytes
    person: Person


class Answer(NamedTuple):
    """The answer to a request that is allowed.

    `files` go along with the reply. The owner of the answer must close them. For each of the `details`, the audit gets
    a record. The dispatcher puts a `blob` into a file. `opened` describes the sockets among the files.
    """

    reply: OpenReply | BlobReply
    files: Sequence[socket.SocketType | FileIO]
    details: Sequence[str]
    blob: bytes | None = None
    opened: Sequence[Opened] = ()


Outcome = Answer | Refusal


class Operation(Generic[R]):
    """Serves one type of request."""

    name: str
    """For the audit."""

    tasks_for_user = 0
    """How many requests of one user may be served in tasks at the same time."""

    def quota_of(self, _received: Received[R]) -> TaskQuota:
        """Return what a request takes if it needs a task."""
        return TaskQuota(self.name, self.tasks_for_user)

    def serve(self, received: Received[R]) -> Outcome | Steps[Outcome | None] | None:
        """Serve a request at once, or return its steps. The result is None if only `serve_in_task` can do it."""
        raise NotImplementedError

    async def serve_in_task(self, received: Received[R], is_answerable: IsAnswerable) -> Outcome | None:
        """Serve a request that takes a while, or return None if the client is gone.

        The operation must await `is_answerable` before it makes something for the client.
        """
        raise NotImplementedError

    def specs_of(self, _request: R) -> Sequence[SocketSpec]:
        """Return the sockets that a request asks for."""
        return ()


async def take_steps(steps: Steps[T], time_slice: TimeSlice) -> T:
    """Take the steps of a request in a task, with a checkpoint between two of them."""
    try:
        while True:
            time_slice.begin()
            try:
                awaited = next(steps)
            except StopIteration as end:
                result: T = end.value
                return result
            if awaited is None:
                await trio.lowlevel.checkpoint()
            else:
                done = trio.Event()
                awaited.when_done(partial(_tell, trio.lowlevel.current_trio_token(), done))
                await done.wait()
    finally:
        steps.close()


def _tell(token: trio.lowlevel.TrioToken, done: trio.Event) -> None:
    with contextlib.suppress(trio.RunFinishedError):
        token.run_sync_soon(done.set)


def answer_blob(request_id: int, data: bytes, details: Sequence[str]) -> Answer | Refusal:
    """Answer with bytes that may not fit a packet."""
    if len(data) > MAX_ANSWER_BYTES:
        return refuse_size(len(data))
    return Answer(BlobReply(request_id, len(data)), (), details, data)


def refuse_size(size: int) -> Refusal:
    """Refuse a request because of the bytes that its answer has."""
    told = f"the answer has {size} bytes, and the broker hands out at most {MAX_ANSWER_BYTES}"
    return Refusal(OS_ERROR, told, errno.EFBIG)


def refuse_error(error: OSError, position: int | None = None) -> Refusal:
    """Refuse a request because of a system call's error, at the socket of this position."""
    if error.errno in DESCRIPTORS_USED_UP:
        return Refusal(OVERLOADED, "the broker has no descriptor left; try again", spec_index=position)
    return Refusal(OS_ERROR, error.strerror or str(error), error.errno or errno.EIO, position)
