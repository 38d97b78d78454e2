"""A connection of a client, as the broker keeps it: when it can take another reply."""

from __future__ import annotations

import select
import socket

import pytest

from nsbroker.wire import ErrorReply
from nsbrokerd.clients.client import Client, Person
from nsbrokerd.clients.closer import Closer
from nsbrokerd.clients.peer import Peer
from nsbrokerd.policy import Subject


@pytest.mark.parametrize("message_bytes", [1, 2000])
def test_client_that_the_kernel_calls_writable_reads_its_replies(message_bytes: int) -> None:
    """Else the hub, which waits for that event until the client reads, would never sleep."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        client = Client(ours, Peer(Subject(1, frozenset()), 1, 1), Person(1, 0, 1), Closer())
        writable = select.poll()
        writable.register(ours, select.POLLOUT)
        replies = 0
        while client.reads_its_replies():
            client.refuse(ErrorReply(1, "denied", "x" * message_bytes))
            replies += 1
        assert replies > 1
        assert not writable.poll(0)
        while not writable.poll(0):
            theirs.recv(1)
        assert client.reads_its_replies()
