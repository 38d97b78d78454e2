"""Clients that misuse the channel on which the broker sends descriptors cost only themselves."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from nsbroker.link.fdpass import take_packet
from nsbroker.wire import BAD_REQUEST, BlobReply, ErrorReply, NamespacesRequest, OpenReply, encode_delivery
from support.brokers.process import BrokerProcess
from support.brokers.raw_client import MAX_FDS, RawClient, netns_of, tcp
from support.inside import cookie_inside, path_of
from support.process_state import idle_descriptors, stopped
from support.waiting import wait_until


@pytest.fixture(scope="module")
def broker(shared_broker: BrokerProcess) -> BrokerProcess:
    return shared_broker


@contextmanager
def unharmed(broker: BrokerProcess) -> Iterator[None]:
    """Check that another client of the same user is served, and that the broker has no more descriptors at the end."""
    with RawClient(broker) as witness:
        assert witness.works()
        before = idle_descriptors(broker.pid)
        yield
        assert witness.works()
        wait_until(lambda: idle_descriptors(broker.pid) == before)


def test_client_that_leaves_its_descriptors_is_told_and_dropped(broker: BrokerProcess) -> None:
    """It gets only few sockets, however long it reads its replies."""
    with unharmed(broker), RawClient(broker) as client:
        replies = []
        for _ in range(200):
            client.send(tcp("@host"))
            replies.append(client.receive_alone())
            if not isinstance(replies[-1], OpenReply):
                break
        refusal = replies.pop()
        assert isinstance(refusal, ErrorReply)
        assert (refusal.request_id, refusal.code) == (None, BAD_REQUEST)
        assert "off the channel" in refusal.message
        assert client.has_hung_up()
        assert 10 < len(replies) < 60
        for reply in replies:  # what it has left is still there
            assert isinstance(reply, OpenReply)
            client.take_delivery(reply.request_id, 1)
    assert "it leaves its descriptors" in broker.log()


def test_client_that_asks_ahead_takes_its_descriptors_in_time(broker: BrokerProcess) -> None:
    """With more requests in flight than the broker answers at once."""
    with unharmed(broker), RawClient(broker) as client:
        for _ in range(4):
            with stopped(broker.pid):
                for number in range(50):
                    client.send(tcp("@host", "@host", request_id=number))
            for number in range(50):
                reply = client.receive()
                assert isinstance(reply, OpenReply)
                assert reply.request_id == number
            client.close_fds()


@pytest.mark.parametrize("way", ["close", "shut down"])
def test_client_without_its_end_of_the_channel_is_dropped(broker: BrokerProcess, way: str) -> None:
    with unharmed(broker), RawClient(broker) as client:
        assert client.works()
        assert client.channel is not None
        if way == "close":
            client.channel.close()
        else:
            client.channel.shutdown(socket.SHUT_RDWR)
        client.send(tcp("@host"))
        assert client.has_hung_up()


def test_client_gets_the_channel_once(broker: BrokerProcess) -> None:
    """With the first reply that has descriptors, of whatever kind. A refusal brings none."""
    with unharmed(broker), RawClient(broker) as client:
        client.refusal(tcp("no-such-namespace"))
        assert client.channel is None
        assert isinstance(client.ask(NamespacesRequest(2)), BlobReply)
        assert client.channel is not None
        for _ in range(3):
            assert client.works()  # a second channel would fail this


def test_end_that_is_resized_passed_on_and_blocking_changes_nothing(broker: BrokerProcess) -> None:
    """The copy works as well, and stays open when the connection ends, without any cost for the broker."""
    with unharmed(broker):
        with RawClient(broker) as client:
            assert client.works()
            assert client.channel is not None
            client.channel.setblocking(True)
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                client.channel.setsockopt(socket.SOL_SOCKET, option, 1)
            copy = client.channel.dup()
            assert client.works()
            client.send(tcp("@host", request_id=7))
            assert isinstance(client.receive_alone(), OpenReply)
            packet, fds = take_packet(copy, 100, MAX_FDS, socket.MSG_DONTWAIT)
            assert (packet, len(fds)) == (encode_delivery(7), 1)
            os.close(fds[0])
            with pytest.raises(BrokenPipeError):
                copy.send(b"x")
        with copy:
            assert copy.recv(100) == b""


def test_clients_that_go_with_descriptors_on_the_channel_leave_nothing(broker: BrokerProcess) -> None:
    """Also the first reply, whose channel is on the way."""
    with unharmed(broker):
        for replies in (1, 5):
            client = RawClient(broker)
            for number in range(replies):
                client.send(tcp("@host", request_id=number))
                if number:
                    client.receive_alone()
            client.close()


def test_reply_identifies_the_namespaces_that_were_entered(
    broker: BrokerProcess, make_namespace: Callable[..., str]
) -> None:
    """Once each, however they are named, by cookie, device and inode."""
    one, two = make_namespace(), make_namespace()
    with RawClient(broker) as client, open(path_of(two)) as sent:
        reply = client.ask(tcp(one, "@host", 0, two, one), [sent.fileno()])
        assert isinstance(reply, OpenReply)
        cookies = {name: cookie_inside(name) for name in (one, two)}
        own = reply.namespaces[1].cookie
        assert netns_of(reply) == [cookies[one], own, cookies[two], cookies[two], cookies[one]]
        assert [each.cookie for each in reply.namespaces] == [cookies[one], own, cookies[two]]
        paths = (path_of(one), f"/proc/{broker.pid}/ns/net", path_of(two))
        found = [os.stat(path) for path in paths]
        assert [(each.device, each.inode) for each in reply.namespaces] == [(at.st_dev, at.st_ino) for at in found]
