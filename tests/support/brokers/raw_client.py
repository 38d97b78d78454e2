"""A client without the library's checks: it sends any packet, and shows each reply as it is."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Sequence
from typing import Self

from nsbroker import SocketSpec
from nsbroker.link.fdpass import lend_packet, take_packet
from nsbroker.wire import (
    ErrorReply,
    OpenReply,
    OpenRequest,
    Reply,
    Request,
    announced_descriptors,
    decode_reply,
    encode_delivery,
    encode_request,
)
from support.brokers.process import BrokerProcess
from support.users import GROUP

TIMEOUT_S = 60
TCP = (int(socket.AF_INET), int(socket.SOCK_STREAM))
UDP = (int(socket.AF_INET), int(socket.SOCK_DGRAM))
MAX_FDS = 253


class RawClient:
    """One connection. It keeps received descriptors in `fds`, and closes them at its end.

    `channel` is the client's end of the channel, once it came.
    """

    def __init__(self, broker: BrokerProcess | str) -> None:
        self.fds: list[int] = []
        self.channel: socket.socket | None = None
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Limits of the kernel's, not settimeout: a blocking connect waits for room in the backlog.
        for limit in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self.sock.setsockopt(socket.SOL_SOCKET, limit, struct.pack("ll", TIMEOUT_S, 0))
        self.sock.connect(broker if isinstance(broker, str) else str(broker.socket_path))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, its channel, and the descriptors that were received."""
        self.sock.close()
        if self.channel is not None:
            self.channel.close()
        self.close_fds()

    def close_fds(self) -> None:
        """Close the descriptors that were received so far."""
        while self.fds:
            os.close(self.fds.pop())

    def send(self, packet: bytes | Request, fds: Sequence[int] = ()) -> None:
        lend_packet(self.sock, packet if isinstance(packet, bytes) else encode_request(packet), list(fds))

    def receive(self) -> Reply | None:
        """Return the next reply, or None if the broker has hung up. Its descriptors come first, over the channel."""
        reply = self.receive_alone()
        if reply is not None and not isinstance(reply, ErrorReply):
            self.take_delivery(reply.request_id, announced_descriptors(reply))
        return reply

    def receive_alone(self) -> Reply | None:
        """Return the next reply, or None if the broker has hung up, and leave its descriptors on the channel."""
        packet, fds = take_packet(self.sock, 65536, MAX_FDS)
        if fds:
            assert self.channel is None, "a second channel"
            self.channel = socket.socket(fileno=fds.pop())
            assert not fds, "descriptors beside the channel"
        return decode_reply(packet) if packet else None

    def take_delivery(self, request_id: int, count: int) -> None:
        """Take the descriptors of a reply, which must be there already."""
        assert self.channel is not None, "no channel"
        packet, fds = take_packet(self.channel, 64, MAX_FDS, socket.MSG_DONTWAIT)
        self.fds += fds
        assert (packet, len(fds)) == (encode_delivery(request_id), count)

    def ask(self, packet: bytes | Request, fds: Sequence[int] = ()) -> Reply | None:
        self.send(packet, fds)
        return self.receive()

    def refusal(self, packet: bytes | Request, fds: Sequence[int] = ()) -> ErrorReply:
        """Send a request that must be refused, and return the refusal."""
        kept = len(self.fds)
        reply = self.ask(packet, fds)
        assert isinstance(reply, ErrorReply), reply
        assert len(self.fds) == kept
        return reply

    def has_hung_up(self) -> bool:
        """Wait for the next event, and return whether it is the end of the connection."""
        try:
            return self.receive() is None
        except ConnectionResetError:
            return True

    def works(self, namespace: str = "@host") -> bool:
        """Return whether the connection still gets a socket."""
        reply = self.ask(tcp(namespace, request_id=4711))
        self.close_fds()
        return isinstance(reply, OpenReply) and reply.request_id == 4711


def netns_of(reply: Reply | None) -> list[int]:
    """Return the cookie of the namespace of each socket."""
    assert isinstance(reply, OpenReply), reply
    return [reply.namespaces[one.namespace].cookie for one in reply.sockets]


def connect_as(uid: int, broker: BrokerProcess) -> RawClient:
    """Connect as this user, in this process. The broker looks at the user at that moment."""
    groups = os.getgroups()
    os.setgroups(broker.client_groups)
    os.setegid(GROUP)
    os.seteuid(uid)
    try:
        return RawClient(broker)
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def tcp(*namespaces: str | int, request_id: int = 1, wait_s: float = 0) -> OpenRequest:
    """Ask for a TCP socket in each of the namespaces."""
    return OpenRequest(request_id, tuple(SocketSpec(namespace, *TCP) for namespace in namespaces), wait_s)
