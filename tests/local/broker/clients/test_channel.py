"""The channel of a client: descriptors go first, the broker closes its copies, and then the reply goes."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from nsbroker.link import fdpass
from nsbroker.link.fdpass import take_packet
from nsbroker.wire import (
    BlobReply,
    EnteredNamespace,
    OpenedSocket,
    OpenReply,
    decode_reply,
    encode_delivery,
)
from nsbrokerd.clients.channel import Channel
from nsbrokerd.clients.client import Client, DescriptorsLeftError, Person
from nsbrokerd.clients.closer import Closer
from nsbrokerd.clients.peer import Peer
from nsbrokerd.policy import Subject
from support.brokers.fake_porters import FakePorters

BLUE = EnteredNamespace(4097, 4, 4026532281)


class Watched(socket.socket):
    """A connection that notes, at each packet, whether the broker still has the files of the reply."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(fileno=sock.detach())
        self.files: list[socket.socket] = []
        self.copies_at_send: list[int] = []

    def _note(self) -> None:
        self.copies_at_send.append(sum(file.fileno() >= 0 for file in self.files))

    def send(self, *arguments: object) -> int:  # type: ignore[override]  # only passes on
        self._note()
        return super().send(*arguments)  # type: ignore[arg-type]

    def sendmsg(self, *arguments: object) -> int:  # type: ignore[override]  # only passes on
        self._note()
        return super().sendmsg(*arguments)  # type: ignore[arg-type]


class Side:
    """A client of the broker's, and the socket of the process at the other end."""

    def __init__(self) -> None:
        ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.connection = Watched(ours)
        self.client = Client(self.connection, Peer(Subject(1, frozenset()), 1, 1), Person(1, 0, 1), Closer())
        self.channel: socket.socket | None = None
        self.sent = 0

    def deliver(self, count: int = 1) -> list[socket.socket]:
        """Deliver new sockets, and return them."""
        self.sent += 1
        files = [socket.socket() for _ in range(count)]
        self.connection.files = files
        self.client.deliver(OpenReply(self.sent, (BLUE,), (OpenedSocket(7),) * count), files)
        return files

    def read_reply(self) -> int:
        """Read the next reply, with the channel if it comes with it, and return its id."""
        packet, fds = take_packet(self.theirs, 65536, 2)
        if fds:
            assert self.channel is None
            self.channel = socket.socket(fileno=fds.pop())
        assert not fds
        reply = decode_reply(packet)
        assert isinstance(reply, OpenReply)
        return reply.request_id

    def take_delivery(self, request_id: int) -> int:
        """Take the descriptors of a reply, and return their number."""
        assert self.channel is not None
        packet, fds = take_packet(self.channel, 100, 253, socket.MSG_DONTWAIT)
        assert packet == encode_delivery(request_id)
        for fd in fds:
            os.close(fd)
        return len(fds)

    def close(self) -> None:
        self.connection.close()
        self.client.close_channel()
        self.theirs.close()
        if self.channel is not None:
            self.channel.close()


@pytest.fixture
def side() -> Iterator[Side]:
    side = Side()
    yield side
    side.close()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("count", [1, 253])
def test_broker_has_no_copy_when_the_reply_is_sent(side: Side, count: int) -> None:
    """Neither of the first reply, which brings the channel, nor of later ones."""
    for _ in range(3):
        files = side.deliver(count)
        assert all(file.fileno() < 0 for file in files)
    assert side.connection.copies_at_send == [0, 0, 0]
    for request_id in (1, 2, 3):
        assert side.read_reply() == request_id
        assert side.take_delivery(request_id) == count


def test_descriptors_are_there_before_the_reply(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    side.deliver()
    side.read_reply()
    side.take_delivery(1)
    assert side.channel is not None
    there: list[bool] = []

    def look(*_: object) -> int:
        there.append(bool(select.select([side.channel], [], [], 0)[0]))
        return 0

    monkeypatch.setattr(Watched, "send", look)
    side.deliver()
    assert there == [True]


def test_blob_comes_over_the_channel(side: Side) -> None:
    """All descriptors go one way."""
    with open(os.memfd_create("blob"), "wb", buffering=0) as blob:
        side.client.deliver(BlobReply(1, 0), [blob])
        assert blob.closed
    packet, (fd,) = take_packet(side.theirs, 100, 1)
    assert decode_reply(packet) == BlobReply(1, 0)
    side.channel = socket.socket(fileno=fd)
    assert side.take_delivery(1) == 1


def test_client_can_send_nothing_on_the_channel(side: Side) -> None:
    """So no descriptor waits there for the broker to close it."""
    side.deliver()
    side.read_reply()
    assert side.channel is not None
    with pytest.raises(BrokenPipeError):
        side.channel.send(b"x")
    with pytest.raises(BrokenPipeError):
        socket.send_fds(side.channel, [b"x"], [side.theirs.fileno()])


@pytest.mark.parametrize("is_first", [True, False])
def test_reply_that_can_not_be_sent_leaves_nothing_open(is_first: bool) -> None:
    """Both ends of the channel close, and so do the sockets on it."""
    before = descriptors()
    side = Side()
    if not is_first:
        side.deliver()
        side.read_reply()
    side.theirs.close()
    with pytest.raises(BrokenPipeError):
        side.deliver()
    side.close()
    assert descriptors() == before


@pytest.mark.parametrize("way", ["close", "shut"])
def test_client_without_its_end_gets_no_reply(side: Side, way: str) -> None:
    """The broker's copies are closed, and the connection is useless."""
    side.deliver()
    side.read_reply()
    assert side.channel is not None
    if way == "close":
        side.channel.close()
    else:
        side.channel.shutdown(socket.SHUT_RD)
    before = descriptors()
    with pytest.raises(ConnectionError):
        side.deliver()
    assert descriptors() == before
    assert side.connection.copies_at_send == [0]


def test_client_that_leaves_its_descriptors_is_found_out_before_they_are_many(side: Side) -> None:
    """It reads all replies. What it leaves always fits the channel."""

    def read_replies_alone() -> None:
        while side.sent < 100:
            if side.client.reads_its_replies():
                side.deliver()
                side.read_reply()

    with pytest.raises(DescriptorsLeftError, match="take the descriptors of each reply"):
        read_replies_alone()
    assert 1 < side.sent < 60


@pytest.mark.parametrize("ahead", [1, 2, 7, 40])
def test_client_that_asks_ahead_is_served_as_long_as_it_takes_its_descriptors(side: Side, ahead: int) -> None:
    """It has at most one reply whose descriptors it has yet to take: in the worst case at each look of the broker."""
    taken = 0
    for _ in range(300):
        for _ in range(ahead):
            if side.client.reads_its_replies():
                side.deliver(2)
        while taken < side.sent:
            taken = side.read_reply()
            side.client.reads_its_replies()
            side.take_delivery(taken)
    assert taken == side.sent > 300 * min(ahead, 10) - 10


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a packet socket")
def test_packet_socket_that_cant_be_delivered_is_closed_by_a_porter() -> None:
    """Its last close takes 10 ms, and it is here, because the client is gone."""
    porters, person = FakePorters(), Person(1, 0, 1)
    channel = Channel(32768)
    assert channel.clients_end is not None
    channel.clients_end.close()
    channel.clients_end = None
    sock = socket.SocketType(socket.AF_PACKET, socket.SOCK_RAW)
    with pytest.raises(BrokenPipeError):
        channel.hand_over(1, [sock], Closer(porters), person)  # type: ignore[arg-type]  # a fake
    assert sock.fileno() == -1
    assert porters.files_of(person) == 1
    porters.close_all()
    channel.close()


def test_socket_that_was_taken_before_its_reply_is_closed_by_a_porter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that waits for it on the channel can close it first, and the last close may wait for SO_LINGER."""
    porters, person = FakePorters(), Person(1, 0, 1)
    channel = Channel(32768)
    clients_end = channel.clients_end
    assert clients_end is not None
    lend = fdpass.lend_packet

    def lend_and_take(*arguments: Any) -> None:
        lend(*arguments)
        for fd in fdpass.take_packet(clients_end, 64, 1)[1]:
            os.close(fd)

    monkeypatch.setattr("nsbrokerd.clients.channel.fdpass.lend_packet", lend_and_take)
    sock = socket.SocketType(socket.AF_INET, socket.SOCK_STREAM)
    channel.hand_over(1, [sock], Closer(porters), person)  # type: ignore[arg-type]  # a fake
    assert sock.fileno() == -1
    assert porters.files_of(person) == 1
    porters.close_all()
    channel.close()
