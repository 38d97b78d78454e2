"""The form of an operation: it takes a request that was received, and returns an answer or a refusal.

To add an operation, write a subclass of `Operation` in its own module, and add it to the table in `dispatch`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from io import FileIO
from typing import Generic, NamedTuple, TypeVar

from nsbroker.wire import OS_ERROR, OVERLOADED, BlobReply, OpenReply, Request, SocketSpec

from ..clients.peer import Peer
from ..namespaces.netns import DESCRIPTORS_USED_UP
from ..policy import Policy
from ..policy.plans import Refusal
from ..sockets.opener import Opener
from .audit import Audit

R = TypeVar("R", bound=Request)

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


@dataclass(slots=True)
class InForce:
    """The parts of the last good configuration that requests are served by. A reload replaces them."""

    policy: Policy
    opener: Opener
    audit: Audit

    def replace(self, policy: Policy, opener: Opener, audit: Audit) -> None:
        """Serve by these from now on."""
        self.policy, self.opener, self.audit = policy, opener, audit


class Received(NamedTuple, Generic[R]):
    """A request, the identity of its client, and the packet that it came in.

    `fds` are the descriptors that it names. They are network namespaces, and only lent to an operation.
    """

    peer: Peer
    request: R
    fds: list[int]
    packet: bytes


class Answer(NamedTuple):
    """The answer to a request that is allowed.

    `files` go along with the reply. The owner of the answer must close them. For each of the `details`, the audit gets
    a record.
    """

    reply: OpenReply | BlobReply
    files: Sequence[socket.SocketType | FileIO]
    details: Sequence[str]


Outcome = Answer | Refusal

IsAnswerable = Callable[[], Awaitable[bool]]
"""Waits until the client has read enough of its replies, and returns False if the client is gone."""


class Operation(Generic[R]):
    """Serves one type of request."""

    name: str
    """For the audit."""

    tasks_for_user = 0
    """How many requests of one user may be served in tasks at the same time."""

    def serve(self, received: Received[R]) -> Outcome | None:
        """Serve a request at once, or return None if only `serve_in_task` can do it."""
        raise NotImplementedError

    async def serve_in_task(self, received: Received[R], is_answerable: IsAnswerable) -> Outcome | None:
        """Serve a request that takes a while, or return None if the client is gone.

        The operation must await `is_answerable` before it makes something for the client.
        """
        raise NotImplementedError

    def specs_of(self, _request: R) -> Sequence[SocketSpec]:
        """Return the sockets that a request asks for."""
        return ()


def make_blob(request_id: int, data: bytes, details: Sequence[str]) -> Answer:
    """Answer with bytes that may not fit a packet, in a memfd that no process can change any more.

    Raises:
        OSError: no descriptor or no memory is left.
    """
    file = FileIO(os.memfd_create("nsbroker", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "wb")
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) :]
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
    except OSError:
        file.close()
        raise
    return Answer(BlobReply(request_id, len(data)), (file,), details)


def refuse_error(error: OSError, position: int | None = None) -> Refusal:
    """Refuse a request because of a system call's error, at the socket of this position."""
    if error.errno in DESCRIPTORS_USED_UP:
        return Refusal(OVERLOADED, "the broker has no descriptor left; try again", spec_index=position)
    return Refusal(OS_ERROR, error.strerror or str(error), error.errno or errno.EIO, position)
