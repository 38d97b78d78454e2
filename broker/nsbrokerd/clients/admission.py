"""Admits clients: the kernel must know their user, and the quotas must have room for one more."""

from __future__ import annotations

import contextlib
import errno
import resource
import socket
from typing import NamedTuple

import structlog

from nsbroker.wire import OVERLOADED, ErrorReply, encode_reply

from .arrivals import BURST, PER_SECOND, TurnedAway
from .client import Client, Person
from .closer import Closer
from .peer import UnknownPeerError, read_peer, read_uid, untrusted_uid
from .persons import Persons

_ACCEPTS_AT_ONCE = 4
"""A turn of accepting takes as long as a few requests. Then connected clients have their turns."""

LONG_QUEUE = 256
SHORT_QUEUE = 0
"""Connections that may wait to be accepted, besides one. Further ones wait in connect(2). While a person opens too
many or while very many hang, the queue is short: another person's connection is behind all of the queue, but in
connect(2) only behind one of each process. A turn of accepting takes only one connection then, and connected clients
wait for less time."""

_SLOW_REST_S = 0.004
"""While very many connections hang, the broker accepts a thousand in a second, so that they hardly become more. It does
not stop, since one person would stop it for all."""

DESCRIPTORS_BESIDE_CLIENTS = 2048
"""Descriptors for the sockets and namespaces of the requests that are being served or wait, and for the answers that
clients still hold."""

DESCRIPTORS_TO_TURN_AWAY = 256
"""The part of them for connections that are turned away and can't be closed at once."""

DESCRIPTORS_FOR_CLIENT = 2
"""The connection, and the channel for the descriptors of its replies."""

_SLOW_SHARE = 16
"""If connections that could not be closed at once hold one in 16 of all descriptors, accepting slows down. The kernel
lets a user have as many descriptors in flight as its RLIMIT_NOFILE, often 524,288."""

_UNKNOWN_UID = -1
"""Stands for the uid of a peer that the kernel does not know."""

_SEND_FLAGS = int(socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)

_LISTENER_GONE = (errno.EAGAIN, errno.ECONNABORTED, errno.EINTR)

log = structlog.get_logger()


class _Reason(NamedTuple):
    """Why connections are turned away: for the log, and as a packet for the client."""

    event: str
    packet: bytes


def _reason(event: str, message: str) -> _Reason:
    return _Reason(event, encode_reply(ErrorReply(None, OVERLOADED, message)))


_NO_ROOM = _reason("client refused: too many clients", "too many clients are connected; try again later")
_TOO_OFTEN = _reason(
    "client refused: too many new connections",
    f"this user opens more than {PER_SECOND} connections in a second, and had {BURST} at once;"
    " keep a connection for many requests, or try again later",
)


class Admission:
    """Accepts connections of the broker's socket.

    Attributes:
        rest_s: how long no connection should be accepted after the last turn.
    """

    def __init__(self, listener: socket.SocketType, persons: Persons, closer: Closer) -> None:
        self._listener = listener
        self._closer = closer
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most_hanging = descriptors // _SLOW_SHARE
        self._most_held = max(3, descriptors - DESCRIPTORS_BESIDE_CLIENTS)
        self._persons = persons
        persons.most_descriptors = self._most_held
        self._turned_away = TurnedAway()
        self._unknown = Person(_UNKNOWN_UID, 0, 0)
        self._untrusted_uid = untrusted_uid()
        listener.setblocking(False)
        self.rest_s = 0.0
        self._queue = 0
        self._keep_queue(LONG_QUEUE)

    def _keep_queue(self, length: int) -> None:
        """Let at most this number of connections wait in the queue. The others wait in connect(2)."""
        if self._queue != length:
            self._queue = length
            self._listener.listen(length)

    def accept(self, now: float) -> tuple[list[Client], OSError | None]:
        """Accept some of the clients that wait.

        Returns:
            The new clients, and the error because of which accepting must pause.
        """
        admitted: list[Client] = []
        self.rest_s = 0.0
        for _ in range(self._how_many()):
            try:
                fd, _ = self._listener._accept()  # type: ignore[attr-defined]  # accept() of the C class
            except OSError as error:
                return admitted, None if error.errno in _LISTENER_GONE else error
            client = self._admit(socket.SocketType(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fd), now)
            if client is not None:
                admitted.append(client)
        return admitted, None

    def _how_many(self) -> int:
        """Return how many connections this turn may accept. Only connections that hang make them few or none."""
        held = self._held()
        if held < self._most_held and self._closer.connections < self._most_hanging:
            return _ACCEPTS_AT_ONCE if self._queue == LONG_QUEUE else 1
        self.rest_s = _SLOW_REST_S
        self._keep_queue(SHORT_QUEUE)
        return _ACCEPTS_AT_ONCE if held < self._most_held + DESCRIPTORS_TO_TURN_AWAY else 0

    def _held(self) -> int:
        """Return the number of descriptors that all clients and former clients hold."""
        persons = self._persons
        return DESCRIPTORS_FOR_CLIENT * persons.clients + persons.connected + self._closer.held

    def report(self) -> None:
        """Log the numbers of the connections that were turned away. Call this each second."""
        if not self._turned_away.report() and not self.rest_s:
            self._keep_queue(LONG_QUEUE)

    def _admit(self, connection: socket.SocketType, now: float) -> Client | None:
        """Return the client, or turn the connection away. For a person past its quota, this must cost very little."""
        persons = self._persons
        try:
            person = persons.of(read_uid(connection), now)
            if not person.arrivals.take(now):
                self._keep_queue(SHORT_QUEUE)
                self._turn_away(person, connection, now, _TOO_OFTEN)
                return None
            peer = read_peer(connection, self._untrusted_uid)
        except (UnknownPeerError, OSError) as error:
            log.warning("client refused", reason=str(error))
            self._closer.turn_away(self._unknown, connection, is_answered=False)
            return None
        # Each client takes a descriptor for its connection and one for its channel, and each user one for its epoll in
        # the hub. This client may add all three.
        needed = self._held() + DESCRIPTORS_FOR_CLIENT + 1
        has_room = persons.clients < persons.quotas.clients and needed <= self._most_held
        admitted = persons.admit(peer.subject.uid, now, peer.subject.groups) if has_room else None
        if admitted is None:
            self._turn_away(person, connection, now, _NO_ROOM)
            return None
        try:
            connection.setblocking(False)
            return Client(connection, peer, admitted, self._closer)
        except OSError as error:
            persons.leave(admitted)
            self._closer.turn_away(admitted, connection, is_answered=False)
            log.debug("client lost while connecting", reason=str(error))
            return None

    def _turn_away(self, person: Person, connection: socket.SocketType, now: float, reason: _Reason) -> None:
        self._turned_away.count(reason.event, person.uid)
        is_answered = reason is _NO_ROOM or person.arrivals.take_answer(now)
        if is_answered:
            with contextlib.suppress(OSError):
                connection.send(reason.packet, _SEND_FLAGS)
        self._closer.turn_away(person, connection, is_answered=is_answered)
