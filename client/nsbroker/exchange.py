"""A conversation on one connection: the requests of a batch, and the replies that belong to them."""

from __future__ import annotations

import errno
import os
from time import monotonic

from .batch import Chunk
from .connection import Connection
from .errors import BrokerProtocolError, refusal
from .proof import read_blob
from .waiting import DeadlineError
from .wire.messages import (
    BlobReply,
    ErrorReply,
    OpenReply,
    OpenRequest,
    ProtocolError,
)
from .wire.requests import encode_request

WINDOW = 2
"""Requests in flight. While a packet waits for room no more than one reply is unread, so broker and client
can't wait for each other; more in flight would gain nothing, since the broker serves one after the other."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from .waiting import Steps
    from .wire.messages import OpenedSocket, Reply, Request

    T = TypeVar("T")

    TakeAnswer = Callable[[Chunk, tuple[OpenedSocket, ...], list[int]], None]


class Batch:
    """The requests of one call: which are to be asked still.

    `take_answer(chunk, opened, fds)` gets each answer, and with it the descriptors.
    """

    def __init__(self, chunks: list[Chunk], take_answer: TakeAnswer, wait_s: float) -> None:
        self._unanswered = {chunk.first: chunk for chunk in chunks}
        self._take_answer = take_answer
        self._wait_until = monotonic() + wait_s if wait_s else 0.0

    def converse(self, connection: Connection, deadline: float) -> Steps[None]:
        """Ask for everything that is not answered yet. A batch whose connection was lost goes on with another one.

        Raises:
            ConnectionLostError: as `Connection.send` and `Connection.receive`.
            DeadlineError: the broker took or answered nothing until `deadline` (in the time of `time.monotonic`).
            OSError: a refusal, with its index in the whole batch, or a broker that does not follow the protocol.
        """
        to_send = list(self._unanswered.values())[::-1]
        in_flight: dict[int | None, Chunk] = {}
        while to_send or in_flight:
            while to_send and len(in_flight) < WINDOW:
                chunk = to_send.pop()
                packet = self._request(connection.next_id(), chunk, in_flight)
                while not connection.send(packet, chunk.fds):
                    if not (yield deadline, connection.writable):
                        raise DeadlineError
            most_fds = max(len(chunk.specs) for chunk in in_flight.values())
            if not (yield deadline, connection.readable):
                raise DeadlineError
            if answer := connection.receive(most_fds):
                self._take(connection, *answer, in_flight)

    def _request(self, request_id: int, chunk: Chunk, in_flight: dict[int | None, Chunk]) -> bytes:
        wait_s = max(0, self._wait_until - monotonic()) if self._wait_until else 0
        try:
            packet = encode_request(OpenRequest(request_id, chunk.specs, wait_s))
        except ProtocolError as error:
            raise ValueError(f"sockets {chunk.first}.. of the request: {error}") from error
        in_flight[request_id] = chunk
        return packet

    def _take(self, connection: Connection, reply: Reply, fds: list[int], in_flight: dict[int | None, Chunk]) -> None:
        if isinstance(reply, OpenReply) and reply.request_id in in_flight:
            chunk = in_flight.pop(reply.request_id)
            try:
                self._take_answer(chunk, reply.sockets, fds)
            except BaseException:
                connection.close()
                raise
            del self._unanswered[chunk.first]
            return
        refused = in_flight.get(reply.request_id)
        raise _failure(connection, reply, fds, refused is not None, refused.first if refused else 0)


def _failure(connection: Connection, reply: Reply, fds: list[int], known_id: bool, first: int = 0) -> OSError:
    for fd in fds:
        os.close(fd)
    orderly = isinstance(reply, ErrorReply) and known_id and not fds
    if not orderly:
        connection.close()
    if isinstance(reply, ErrorReply) and (known_id or reply.request_id is None):
        index = None if reply.spec_index is None else first + reply.spec_index
        return refusal(reply.code, reply.message, index, reply.errno)
    return BrokerProtocolError(errno.EPROTO, f"a reply came that nobody asked for: {type(reply).__name__}")


def ask_blob(
    make_request: Callable[[int], Request],
    fds: tuple[int, ...],
    read: Callable[[bytes], T],
    connection: Connection,
    deadline: float,
) -> Steps[T]:
    """Ask what is answered with a blob, and give what `read` makes of it.

    Raises:
        ConnectionLostError, DeadlineError: as `Batch.converse`.
        OSError: a refusal, or a broker that does not follow the protocol.
    """
    request_id = connection.next_id()
    packet = encode_request(make_request(request_id))
    while not connection.send(packet, fds):
        if not (yield deadline, connection.writable):
            raise DeadlineError
    answer = None
    while answer is None:
        if not (yield deadline, connection.readable):
            raise DeadlineError
        answer = connection.receive(1)
    reply, blobs = answer
    if not isinstance(reply, BlobReply) or reply.request_id != request_id or len(blobs) != 1:
        raise _failure(connection, reply, blobs, reply.request_id == request_id)
    try:
        return read(read_blob(blobs[0], reply.size))
    except ProtocolError as error:
        connection.close()
        raise BrokerProtocolError(errno.EPROTO, f"the answer can't be read: {error}") from error
    finally:
        os.close(blobs[0])
