"""Questions to the broker, and `converse`, which asks some of them over one connection."""

from __future__ import annotations

import errno
import os
import socket
from time import monotonic

from ..wire.codec import encode_request
from ..wire.messages import BlobReply, ErrorReply, OpenReply, OpenRequest, ProtocolError, SocketSpec
from ..wire.record import make_record
from .errors import BrokerProtocolError, refusal
from .proof import read_blob, take_sockets
from .waiting import DeadlineError, wait

_WINDOW = 2
"""Requests in flight. While a packet waits for room, at most one reply is unread, so broker and client can't wait for
each other. More in flight would gain no time, since the broker serves one after the other."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from ..wire.messages import Reply, Request
    from .connection import Connection

    Question: TypeAlias = "SocketsQuestion | BlobQuestion"


class SocketsQuestion:
    """A request for sockets. It is sent once more after each loss of the connection, until it has its `answer`.

    Attributes:
        first: the index, in the whole call, of the request's first socket.
        reply: the reply to it, as soon as there is an answer.
        fds: the descriptors to lend with the request.
    """

    __slots__ = ("_is_grouped", "_specs", "_stock", "_take_fd", "_wait_until", "answer", "fds", "first", "reply")
    reply_type = OpenReply
    reply: OpenReply

    def __init__(
        self,
        first: int,
        specs: tuple[SocketSpec, ...],
        fds: tuple[int, ...],
        take_fd: Callable[[SocketSpec, int], socket.SocketType],
        wait_until: float,
        stock: int = 0,
        *,
        is_grouped: bool = False,
    ) -> None:
        self.first = first
        self.fds = fds
        self.answer: Any = None
        self._specs = specs
        self._take_fd = take_fd
        self._wait_until = wait_until
        self._is_grouped = is_grouped
        self._stock = stock

    def encode(self, request_id: int) -> bytes:
        """Return the packet."""
        wait_s = max(0, self._wait_until - monotonic()) if self._wait_until else 0
        try:
            request = make_record(OpenRequest, (request_id, self._specs, wait_s, self._stock, self._is_grouped))
            return encode_request(request)
        except ProtocolError as error:
            raise ValueError(f"the request for sockets from index {self.first} on is not valid: {error}") from error

    def take(self, reply: OpenReply, fds: list[int]) -> None:
        """Set `answer` and `reply`. From the call on, this owns the descriptors."""
        self.reply = reply
        specs = self._specs * (self._stock or 1)
        self.answer = take_sockets(specs, reply, fds, self._take_fd, is_grouped=self._is_grouped)


class BlobQuestion:
    """A request for an answer in a memfd. Methods and attributes are those of `SocketsQuestion`."""

    reply_type = BlobReply
    first = 0

    def __init__(
        self, request: Callable[[int], Request], fds: tuple[int, ...], decode: Callable[[bytes], object]
    ) -> None:
        self.fds = fds
        self.answer: Any = None
        self._request = request
        self._decode = decode

    def encode(self, request_id: int) -> bytes:
        """Return the packet."""
        return encode_request(self._request(request_id))

    def take(self, reply: BlobReply, fds: list[int]) -> None:
        """Set `answer`. From the call on, this owns the descriptors."""
        try:
            self.answer = self._decode(read_blob(fds[0], reply.size))
        except ProtocolError as error:
            raise BrokerProtocolError(errno.EPROTO, f"the broker's answer is not valid: {error}") from error
        finally:
            for fd in fds:
                os.close(fd)


async def converse(connection: Connection, unanswered: list[Question], deadline: float) -> None:
    """Ask questions, and take each out of `unanswered` when it has its answer.

    Raises:
        ConnectionLostError: as `Connection.send` and `Connection.receive`.
        DeadlineError: the broker took or answered no request until `deadline`.
        OSError: the broker refuses, with the index in the whole call, or it does not follow the protocol.
    """
    to_ask = unanswered[::-1]
    in_flight: dict[int | None, Question] = {}
    while to_ask or in_flight:
        while to_ask and len(in_flight) < _WINDOW:
            question = to_ask.pop()
            request_id = connection.next_id()
            packet = question.encode(request_id)
            in_flight[request_id] = question
            while not connection.send(packet, question.fds):
                if not await wait(deadline, connection.writable):
                    raise DeadlineError
        if not await wait(deadline, connection.readable):
            raise DeadlineError
        if received := connection.receive():
            reply, fds = received
            answered = in_flight.pop(reply.request_id, None)
            if answered is None or type(reply) is not answered.reply_type:
                raise _failure(connection, reply, fds, answered)
            try:
                answered.take(reply, fds)  # type: ignore[arg-type]  # of its reply_type, as checked
            except BaseException:
                connection.close()
                raise
            unanswered.remove(answered)


def _failure(connection: Connection, reply: Reply, fds: list[int], question: Question | None) -> OSError:
    """Return the exception for a reply that is not an answer. Unless it is a plain refusal, close the connection."""
    for fd in fds:
        os.close(fd)
    if not isinstance(reply, ErrorReply) or question is None or fds:
        connection.close()
    if isinstance(reply, ErrorReply) and (question is not None or reply.request_id is None):
        index = None if reply.spec_index is None else reply.spec_index + (question.first if question else 0)
        return refusal(reply.code, reply.message, index, reply.errno)
    return BrokerProtocolError(errno.EPROTO, f"the broker sent a {type(reply).__name__} that answers no request")
