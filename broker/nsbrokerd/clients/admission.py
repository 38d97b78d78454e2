"""Admits clients: the kernel must know their user, and the quotas must have room for one more."""

from __future__ import annotations

import contextlib
import errno
import resource
import socket

import structlog

from nsbroker.link import fdpass
from nsbroker.wire import OVERLOADED, ErrorReply, encode_reply

from .client import BURST_S, Client, User
from .closer import Closer
from .peer import UnknownPeerError, read_peer, untrusted_uid
from .quotas import Quotas

_ACCEPTS_AT_ONCE = 64

DESCRIPTORS_BESIDE_CLIENTS = 1024
"""Descriptors for the sockets and namespaces of the requests that are being served."""

DESCRIPTORS_FOR_CLIENT = 2
"""The connection, and the channel for the descriptors of its replies."""

_HANGING_SHARE = 4
"""Connections that could not be closed at once may hold one in four of all descriptors. Beyond that, the broker accepts
no client at all for a while. The share is large: a connection hangs only with a descriptor in flight, and the kernel
allows each user only few of these."""

_UNKNOWN_UID = -1
"""Stands for the uid of a peer that the kernel does not know."""

_LISTENER_GONE = (errno.EAGAIN, errno.ECONNABORTED, errno.EINTR)

log = structlog.get_logger()


class Users:
    """All users that have connections, or had one a moment ago: a user can't refill its allowance by reconnecting.

    Attributes:
        quotas: the bounds that hold now.
        clients: the number of connections of all users.
        connected: the number of users that have a connection.
    """

    def __init__(self, quotas: Quotas) -> None:
        self.quotas = quotas
        self.clients = 0
        self.connected = 0
        self._by_uid: dict[int, User] = {}

    def admit(self, uid: int, now: float) -> User | None:
        """Count one more connection of a user, or return None if the user has too many."""
        user = self._by_uid.get(uid)
        if user is None:
            user = self._by_uid[uid] = User(uid, now, self.quotas.requests_per_second)
        if user.clients >= self.quotas.clients_per_user:
            return None
        self.connected += user.clients == 0
        user.clients += 1
        self.clients += 1
        return user

    def leave(self, user: User) -> None:
        """Count one connection less."""
        user.clients -= 1
        self.clients -= 1
        self.connected -= user.clients == 0

    def forget_idle(self, now: float) -> None:
        """Forget users without connections once their allowance would be full again."""
        idle = [uid for uid, user in self._by_uid.items() if not user.clients and now - user.refilled_at > 2 * BURST_S]
        for uid in idle:
            del self._by_uid[uid]


class Admission:
    """Accepts connections of the broker's socket."""

    def __init__(self, listener: socket.SocketType, users: Users, closer: Closer) -> None:
        self._listener = listener
        self._closer = closer
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most_hanging = descriptors // _HANGING_SHARE
        self._most_held = max(3, descriptors - DESCRIPTORS_BESIDE_CLIENTS)
        self._users = users
        self._untrusted_uid = untrusted_uid()
        listener.setblocking(False)

    def accept(self, now: float) -> tuple[list[Client], OSError | None]:
        """Accept some of the clients that wait.

        Returns:
            The new clients, and the error because of which accepting must pause.
        """
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
                self._closer.hang_up(_UNKNOWN_UID, connection)
                log.debug("client lost while connecting", reason=str(error))
            else:
                admitted += [client] if client else []
            if self._closer.connections >= self._most_hanging:
                return admitted, OSError("too many closed connections hold descriptors that take long to close")
        return admitted, None

    def _admit(self, connection: socket.SocketType, now: float) -> Client | None:
        connection.setblocking(False)
        try:
            peer = read_peer(connection, self._untrusted_uid)
        except UnknownPeerError as error:
            log.warning("client refused", reason=str(error))
            self._closer.hang_up(_UNKNOWN_UID, connection)
            return None
        uid, users = peer.subject.uid, self._users
        # Each client takes a descriptor for its connection and one for its channel, and each user one for its epoll in
        # the hub. This client may add all three.
        held = DESCRIPTORS_FOR_CLIENT * users.clients + users.connected
        has_room = users.clients < users.quotas.clients and held + DESCRIPTORS_FOR_CLIENT + 1 <= self._most_held
        user = users.admit(uid, now) if has_room else None
        if user is None:
            log.warning("client refused: too many clients", uid=uid, clients=users.clients)
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
        self._closer.hang_up(uid, connection)
