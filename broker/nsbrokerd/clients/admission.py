"""Lets clients in: each is someone that the kernel knows, and there is room for one more."""

from __future__ import annotations

import contextlib
import errno
import resource
import socket

import structlog

from nsbroker.link import fdpass
from nsbroker.wire import OVERLOADED, ErrorReply, encode_reply

from ..serving.intake import Intake
from .client import Client
from .peer import UnknownPeerError, read_peer
from .users import Users

_ACCEPTS_AT_ONCE = 64

DESCRIPTORS_BESIDE_CLIENTS = 1024
"""For the sockets and namespaces of the requests that are being served."""

_HANGING_SHARE = 4
"""Of all descriptors, what connections that could not be closed at once may have: one in four. Past them, no more are
accepted for a while, of nobody. So it is many: what hangs has a descriptor in flight, and each user can have few."""

_NOBODY = -1
"""In place of the uid of a peer that is not known."""

_LISTENER_GONE = (errno.EAGAIN, errno.ECONNABORTED, errno.EINTR)

log = structlog.get_logger()


class Admission:
    """Accepts connections of the broker's socket."""

    def __init__(self, listener: socket.SocketType, intake: Intake, users: Users, untrusted_uid: int | None) -> None:
        self._listener = listener
        self._intake = intake
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most_hanging = descriptors // _HANGING_SHARE
        self._most_held = max(2, descriptors - DESCRIPTORS_BESIDE_CLIENTS)
        self._users = users
        self._untrusted_uid = untrusted_uid
        listener.setblocking(False)

    def accept(self, now: float) -> tuple[list[Client], OSError | None]:
        """Accept those who wait, some at once: (the new clients, why it is of no use to go on right now)."""
        admitted: list[Client] = []
        for _ in range(_ACCEPTS_AT_ONCE):
            try:
                fd, _ = self._listener._accept()  # type: ignore[attr-defined]  # accept() of the C class
            except OSError as error:
                return admitted, None if error.errno in _LISTENER_GONE else error
            connection = socket.SocketType(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fd)
            try:
                client = self._admit(connection, now)
            except OSError as error:
                self._intake.hang_up(_NOBODY, connection)
                log.debug("client lost while connecting", reason=str(error))
            else:
                admitted += [client] if client else []
            if self._intake.hanging >= self._most_hanging:
                return admitted, OSError("too many connections bring what can't be closed at once")
        return admitted, None

    def _admit(self, connection: socket.SocketType, now: float) -> Client | None:
        connection.setblocking(False)
        try:
            peer = read_peer(connection, self._untrusted_uid)
        except UnknownPeerError as error:
            log.warning("client refused", reason=str(error))
            self._intake.hang_up(_NOBODY, connection)
            return None
        uid, users = peer.subject.uid, self._users
        # A connection takes a descriptor, and so does each user's place in the hub: one of each may come on top now.
        has_room = users.clients < users.limits.clients and users.clients + users.connected + 2 <= self._most_held
        user = users.admit(uid, now) if has_room else None
        if user is None:
            log.warning("too many clients", uid=uid, clients=users.clients)
            self._turn_away(uid, connection)
            return None
        try:
            return Client(connection, peer, user)
        except OSError:
            users.leave(user)
            raise

    def _turn_away(self, uid: int, connection: socket.SocketType) -> None:
        with contextlib.suppress(OSError):
            refusal = ErrorReply(None, OVERLOADED, "too many clients are connected; try again later")
            fdpass.lend_packet(connection, encode_reply(refusal), (), int(socket.MSG_DONTWAIT))
        self._intake.hang_up(uid, connection)
