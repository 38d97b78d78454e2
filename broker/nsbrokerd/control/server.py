"""The broker's side of the control socket. Nobody who can read the status may slow the broker's clients.

So requests are short words, the status is made a few times in a second at most, and new connections are few. A reply
is one packet, which never waits for its reader. A connection counts until its reply is read, so that unread replies
can't pile up. Each user has few connections, with one request each. Root has some that nobody else can take, and may
send further requests.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections import Counter
from collections.abc import Callable
from typing import Protocol

import trio

from nsbroker.link import fdpass

from ..clients.channel import queued_bytes
from ..clients.client import Person
from ..clients.closer import Closer
from ..clients.peer import read_uid
from ..clients.persons import Persons
from .packets import (
    ERROR,
    FOR_ROOT,
    MAX_REPLY_BYTES,
    MAX_REQUEST_BYTES,
    RELOAD,
    STATUS,
    WORDS,
    Fields,
    Request,
    decode_request,
    encode_reply,
)

CONNECTIONS_OF_USER = 4
CONNECTIONS_OF_USERS = 24
"""Of all users but root."""

KEPT_S = 0.25
"""A status is told to all who ask in this time, unless there was a reload."""

_ACCEPTED_AT_ONCE = 4
_ACCEPT_PAUSE_S = 0.02
"""So at most 200 connections in a second, which cost the broker a hundredth of its time."""

_BACKLOG = 16
"""With a long queue, root would wait behind the connections of others."""

_REQUEST_S = 2.0
"""A connection has to send its request in this time."""

_LOOK_S = 0.25
"""How often a connection is looked at whether its reply has been read."""

_SEND_FLAGS = int(socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


class Controlled(Protocol):
    """The broker, as far as the control socket shows and changes it."""

    def status(self, *, is_short: bool) -> Fields:
        """Return the status, without its tables if it has to be short."""

    def reload(self) -> Fields:
        """Load the configuration again, and return the outcome."""

    def sockets(self, after: int) -> Fields:
        """Return some of the unlimited sockets that were handed out, after the one with this number."""


class ControlServer:
    """Serves the control socket in a few tasks."""

    def __init__(
        self,
        listener: socket.socket,
        persons: Persons,
        closer: Closer,
        controlled: Controlled,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._listener = listener
        self._persons = persons
        self._closer = closer
        self._controlled = controlled
        self._clock = clock
        self._connections: Counter[int] = Counter()
        self._kept = b""
        self._kept_until = float("-inf")
        listener.setblocking(False)
        listener.listen(_BACKLOG)

    async def run(self) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                await trio.lowlevel.wait_readable(self._listener.fileno())
                for _ in range(_ACCEPTED_AT_ONCE):
                    if not self._accept(nursery):
                        break
                await trio.sleep(_ACCEPT_PAUSE_S)

    def _accept(self, nursery: trio.Nursery) -> bool:
        """Accept a connection, and return False if there is none."""
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return False
        try:
            uid = read_uid(connection)
            connection.setblocking(False)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_REPLY_BYTES)
        except OSError:
            connection.close()
            return True
        person = self._persons.of(uid, self._clock())
        if self._has_room(uid, person.uid):
            self._connections[person.uid] += 1
            nursery.start_soon(self._serve, connection, uid, person)
        else:
            self._closer.turn_away(person, connection, is_answered=False)
        return True

    def _has_room(self, uid: int, person: int) -> bool:
        if self._connections[person] >= CONNECTIONS_OF_USER:
            return False
        return uid == 0 or self._connections.total() - self._connections[0] < CONNECTIONS_OF_USERS

    async def _serve(self, connection: socket.socket, uid: int, person: Person) -> None:
        try:
            with contextlib.suppress(OSError):
                while await self._serve_one(connection, uid) and uid == 0:
                    pass
        finally:
            self._connections[person.uid] -= 1
            if not self._connections[person.uid]:
                del self._connections[person.uid]
            self._closer.hang_up(person, connection)

    async def _serve_one(self, connection: socket.socket, uid: int) -> bool:
        """Answer a request, and wait until the reply is read. Return False if there is no request.

        Raises:
            OSError: the other end is gone.
        """
        fd = connection.fileno()
        is_answered = False
        with trio.move_on_after(_REQUEST_S):
            await trio.lowlevel.wait_readable(fd)
            is_answered = self._answer(connection, uid)
        while queued_bytes(fd):
            with trio.move_on_after(_LOOK_S) as look:
                await trio.lowlevel.wait_readable(fd)  # usually the end of the connection
            if not look.cancelled_caught and queued_bytes(fd):
                await trio.sleep(_LOOK_S)
        return is_answered

    def _answer(self, connection: socket.socket, uid: int) -> bool:
        """Answer a request. Return False if there is none, or a wrong one.

        Raises:
            OSError: the other end is gone.
        """
        packet, is_longer, brings_fds = fdpass.peek_packet(connection, MAX_REQUEST_BYTES)
        if not packet and not brings_fds:
            return False
        request = None if is_longer or brings_fds else decode_request(packet)
        if request is None:
            # The packet stays in the queue: to drop its descriptors can take long, and the closer has threads for that.
            reply = encode_reply({ERROR: f"unknown request; this broker knows {', '.join(sorted(WORDS))}"})
        else:
            fdpass.discard_packet(connection)
            reply = self._reply(request, uid)
        connection.send(reply, _SEND_FLAGS)
        return request is not None

    def _reply(self, request: Request, uid: int) -> bytes:
        if request.word in FOR_ROOT and uid != 0:
            return encode_reply({ERROR: f"only root may ask for {request.word}: run the command as root"})
        if request.word == STATUS:
            return self._status()
        if request.word == RELOAD:
            self._kept_until = float("-inf")
            return encode_reply(self._controlled.reload())
        return encode_reply(self._controlled.sockets(request.number))

    def _status(self) -> bytes:
        now = self._clock()
        if now >= self._kept_until:
            self._kept = encode_reply(self._controlled.status(is_short=False))
            if len(self._kept) > MAX_REPLY_BYTES:
                self._kept = encode_reply(self._controlled.status(is_short=True))
            self._kept_until = now + KEPT_S
        return self._kept
