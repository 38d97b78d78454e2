"""A connected client: its connection and its channel, its identity, and the user that it belongs to."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Sequence
from io import FileIO

from nsbroker.link import fdpass
from nsbroker.wire import BlobReply, ErrorReply, OpenReply, encode_reply

from .arrivals import Arrivals
from .channel import Channel, queued_bytes
from .closer import Closer
from .peer import Peer

SEND_BUFFER_BYTES = 32768
"""Room for replies in flight. The kernel doubles it. The default would hold thousands of sockets of a client that never
reads."""

_PACKET_OVERHEAD_BYTES = 1024
"""The most that the kernel counts for a small packet besides its bytes. A large packet can count twice this: it still
fits, since the broker makes another reply only while most of the buffer is free."""

BURST_S = 1.0
"""Seconds of its rate that a user may use up at once."""

RECORDED_REFUSALS = 100
"""Refusals of a user in a second that get an audit record each. Further ones are counted."""

RECORD_BYTES = 1024
"""Bytes of audit records for which a request pays by itself. Further ones count like further requests."""

_SLACK_BYTES = 2 * _PACKET_OVERHEAD_BYTES
"""A client may have read one reply whose descriptors it has yet to take."""

_SEND_FLAGS = int(socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


class Person:
    """A user with all uids that are delegated to it, and how much of the broker it uses.

    Attributes:
        uid: the uid that stands for the person.
        groups: the groups of the client that connected last.
        is_named: whether a grant names this person. Others share one half of the broker.
        clients: the number of connections.
        closing: the number of former connections that are not closed yet.
        arrivals: the quota of new connections.
        tasks: by operation, the number of requests that are served in tasks of their own.
        allowance: the number of requests that the user may make right now.
        refilled_at: the time of the last request, on the clock of time.monotonic().
        used_s: the place on the virtual clock of `serving.turns`.
    """

    __slots__ = (
        "_counted_since",
        "_recorded_refusals",
        "allowance",
        "arrivals",
        "clients",
        "closing",
        "groups",
        "is_named",
        "refilled_at",
        "tasks",
        "uid",
        "used_s",
    )

    def __init__(self, uid: int, now: float, rate: int) -> None:
        self.uid = uid
        self.groups: frozenset[int] = frozenset()
        self.is_named = True
        self.clients = 0
        self.closing = 0
        self.used_s = 0.0
        self.arrivals = Arrivals(now)
        self.tasks: Counter[str] = Counter()
        self.allowance = rate * BURST_S
        self.refilled_at = now
        self._counted_since = now
        self._recorded_refusals = 0

    def take_request(self, now: float, rate: int) -> bool:
        """Count one request, and return False if the user made more than `rate` requests in a second."""
        if self.allowance < 0:
            self.allowance = max(self.allowance, -rate * BURST_S)  # a long record must not lock its user out
        self.allowance = min(rate * BURST_S, self.allowance + (now - self.refilled_at) * rate)
        self.refilled_at = now
        if self.allowance < 1:
            return False
        self.allowance -= 1
        return True

    def used_requests(self, now: float, rate: int) -> int:
        """Return how much of its rate the user has used up right now."""
        return max(0, int(rate * BURST_S - self.allowance - (now - self.refilled_at) * rate))

    def charge_record(self, record_bytes: int) -> None:
        """Count the bytes that a request wrote to the audit as requests, except for the first ones."""
        self.allowance -= max(0, record_bytes - RECORD_BYTES) / RECORD_BYTES

    def take_record(self, now: float) -> bool:
        """Return whether a refusal gets an audit record of its own. Otherwise it must be counted."""
        if now - self._counted_since >= 1:
            self._counted_since = now
            self._recorded_refusals = 0
        self._recorded_refusals += 1
        return self._recorded_refusals <= RECORDED_REFUSALS


class DescriptorsLeftError(OSError):
    """A client reads its replies, but leaves their descriptors on the channel."""


class Client:
    """A connection, the identity of its other end, and an estimate of the bytes that the other end has not read.

    Attributes:
        is_at_porter: whether the porter may be taking a packet. Then this process must not look into the queue.
    """

    __slots__ = (
        "_channel",
        "_closer",
        "_most_unread_bytes",
        "_unread_bytes",
        "blocked_since",
        "fd",
        "is_at_porter",
        "peer",
        "person",
        "sock",
    )

    def __init__(self, sock: socket.SocketType, peer: Peer, person: Person, closer: Closer) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        # A quarter of the buffer, as for the kernel's EPOLLOUT: the hub waits for that event. With a stricter measure,
        # the event would come at once, again and again.
        self._most_unread_bytes = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) // 4
        self.sock = sock
        self.fd = sock.fileno()
        self.peer = peer
        self.person = person
        self._closer = closer
        self.blocked_since: float | None = None
        self.is_at_porter = False
        self._unread_bytes = 0
        self._channel: Channel | None = None

    @property
    def is_closed(self) -> bool:
        """Whether the broker has dropped the connection."""
        return self.sock.fileno() < 0

    def reads_its_replies(self) -> bool:
        """Return whether another reply certainly fits. This asks the kernel only if the estimate leaves a doubt.

        The descriptors of a reply then fit the channel as well: their packet is shorter than the reply, and a client
        takes it before it reads another reply.

        Raises:
            DescriptorsLeftError: the client does not do so. It must be dropped.
        """
        if self._unread_bytes < self._most_unread_bytes:
            return True
        self._unread_bytes = queued_bytes(self.fd)
        if self._channel is not None and self._channel.untaken_bytes() > self._most_unread_bytes + _SLACK_BYTES:
            raise DescriptorsLeftError(
                "take the descriptors of each reply off the channel before you read the next reply"
            )
        return self._unread_bytes < self._most_unread_bytes

    def refuse(self, reply: ErrorReply) -> None:
        """Send a reply without descriptors.

        Raises:
            OSError: the reply can't be delivered, so the connection is useless now.
        """
        packet = encode_reply(reply)
        self._unread_bytes += len(packet) + _PACKET_OVERHEAD_BYTES
        self.sock.send(packet, _SEND_FLAGS)

    def open_channel(self) -> Channel:
        """Return the channel, which is made for the first reply with descriptors.

        Raises:
            OSError: no descriptor is left.
        """
        if self._channel is None:
            self._channel = Channel(SEND_BUFFER_BYTES)
        return self._channel

    def deliver(self, reply: OpenReply | BlobReply, files: Sequence[socket.SocketType | FileIO]) -> None:
        """Hand over the files of a reply, and only then send the reply, which wakes up the client.

        This closes the files in any case.

        Raises:
            OSError: the reply can't be delivered, so the connection and its channel are useless now.
        """
        packet = encode_reply(reply)
        self._unread_bytes += len(packet) + _PACKET_OVERHEAD_BYTES
        channel = self._channel or self.open_channel()
        channel.hand_over(reply.request_id, files, self._closer, self.person)
        if channel.clients_end is None:
            self.sock.send(packet, _SEND_FLAGS)
        else:
            fdpass.lend_packet(self.sock, packet, (channel.clients_end.fileno(),), _SEND_FLAGS)
            channel.clients_end.close()
            channel.clients_end = None

    def discard(self, files: Sequence[socket.SocketType | FileIO]) -> None:
        """Close files that the client does not get."""
        self._closer.discard(self.person, files)

    def close_channel(self) -> None:
        """Close the channel, if there is one."""
        if self._channel is not None:
            self._channel.close()
