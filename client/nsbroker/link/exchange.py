"""A conversation on one connection: the requests of a batch, and the replies that belong to them."""

from __future__ import annotations

import errno
import os
from time import monotonic

from ..wire.messages import BlobReply, ErrorReply, OpenReply, OpenRequest, ProtocolError
from ..wire.codec import encode_request
from .batch import Chunk
from .connection import Connection
from .errors import BrokerProtocolError, refusal
from .proof import read_blob, take_sockets
from .waiting import DeadlineError

WINDOW = 2
"""Requests in flight. While a packet waits for room no more than one reply is unread, so broker and client
can't wait for each other; more in flight would gain nothing, since the broker serves one after the other."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import TypeVar

    from ..wire.messages import OpenedSocket, Reply, Request, SocketSpec
    from .waiting import Steps

    S = TypeVar("S", bound=socket.SocketType)
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
        packet = _encode(request_id, chunk.specs, self._wait_until, chunk.first)
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


def _encode(request_id: int, specs: tuple[SocketSpec, ...], wait_until: float, first: int = 0) -> bytes:
    wait_s = max(0, wait_until - monotonic()) if wait_until else 0
    try:
        return encode_request(OpenRequest(request_id, specs, wait_s))
    except ProtocolError as error:
        raise ValueError(f"sockets {first}.. of the request: {error}") from error


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


def _ask(
    connection: Connection, packet: bytes, fds: tuple[int, ...], max_fds: int, deadline: float
) -> Steps[tuple[Reply, list[int]]]:
    """Send one request on an idle connection, and give what comes back; the caller owns the descriptors."""
    while not connection.send(packet, fds):
        if not (yield deadline, connection.writable):
            raise DeadlineError
    while True:
        if not (yield deadline, connection.readable):
            raise DeadlineError
        if answer := connection.receive(max_fds):
            return answer


def ask_socket(
    spec: SocketSpec,
    take_fd: Callable[[SocketSpec, int], S],
    wait_until: float,
    connection: Connection,
    deadline: float,
) -> Steps[S]:
    """Ask for one socket in a namespace that has a name: what is asked most often, without the care of a batch.

    Raises:
        ConnectionLostError, DeadlineError, OSError: as `Batch.converse`.
    """
    request_id = connection.next_id()
    specs = (spec,)
    reply, fds = yield from _ask(connection, _encode(request_id, specs, wait_until), (), 1, deadline)
    if type(reply) is not OpenReply or reply.request_id != request_id:
        raise _failure(connection, reply, fds, reply.request_id == request_id)
    try:
        return take_sockets(specs, reply.sockets, fds, take_fd)[0]
    except BaseException:
        connection.close()
        raise


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
    reply, blobs = yield from _ask(connection, packet, fds, 1, deadline)
    if not isinstance(reply, BlobReply) or reply.request_id != request_id or len(blobs) != 1:
        raise _failure(connection, reply, blobs, reply.request_id == request_id)
    try:
        return read(read_blob(blobs[0], reply.size))
    except ProtocolError as error:
        connection.close()
        raise BrokerProtocolError(errno.EPROTO, f"the answer can't be read: {error}") from error
    finally:
        os.close(blobs[0])
