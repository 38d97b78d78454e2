"""The one path of an answer to its client, when the channel for its descriptors can't be made."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from nsbroker.wire import (
    OVERLOADED,
    BlobReply,
    EnteredNamespace,
    ErrorReply,
    OpenedSocket,
    OpenReply,
    ResolverRequest,
    decode_reply,
)
from nsbrokerd.clients.client import RECORD_BYTES, Client, Person
from nsbrokerd.clients.closer import Closer
from nsbrokerd.clients.peer import Peer
from nsbrokerd.policy import Policy, Subject
from nsbrokerd.policy.plans import Refusal
from nsbrokerd.requests.counted_refusals import MOST_RECORDS
from nsbrokerd.requests.dispatch import Dispatcher
from nsbrokerd.requests.operation import Answer, InForce, answer_blob
from support.brokers.raw_client import tcp


class FakeAudit:
    """Notes the outcome of each record."""

    def __init__(self, record_bytes: int = 100) -> None:
        self.record_bytes = record_bytes
        self.outcomes: list[str] = []

    def allowed(self, *_: object) -> int:
        self.outcomes.append("allowed")
        return self.record_bytes

    def refused(self, *_: object, **__: object) -> int:
        self.outcomes.append("refused")
        return self.record_bytes


def test_request_is_refused_if_no_descriptor_is_left_for_the_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The audit never says that the client got its socket, which is closed. The connection goes on."""

    def used_up(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    audit = FakeAudit()
    dispatcher = Dispatcher(InForce(Policy(()), None, audit), None, None)  # type: ignore[arg-type]  # fakes
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, socket.socket() as made:
        client = Client(ours, Peer(Subject(1, frozenset()), 1, 1), Person(1, 0, 1), Closer())
        reply = OpenReply(1, (EnteredNamespace(4097, 4, 4026532281),), (OpenedSocket(7),))
        monkeypatch.setattr("nsbrokerd.clients.channel.socket.socketpair", used_up)
        dispatcher.reply(client, tcp("blue"), Answer(reply, [made], [""]))
        refusal = decode_reply(theirs.recv(1000))
        assert isinstance(refusal, ErrorReply)
        assert (refusal.request_id, refusal.code) == (1, OVERLOADED)
        assert (audit.outcomes, made.fileno()) == (["refused"], -1)
        monkeypatch.undo()
        with socket.socket() as made:
            dispatcher.reply(client, tcp("blue"), Answer(reply, [made], [""]))
        assert decode_reply(theirs.recv(1000)) == reply
        assert audit.outcomes == ["refused", "allowed"]
        client.close_channel()


def test_long_records_are_charged() -> None:
    """Those of answers and those of refusals."""
    dispatcher = Dispatcher(InForce(Policy(()), None, FakeAudit(3 * RECORD_BYTES)), None, None)  # type: ignore[arg-type]  # fakes
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, socket.socket() as made:
        client = Client(ours, Peer(Subject(1, frozenset()), 1, 1), Person(1, 0, 10), Closer())
        reply = OpenReply(1, (EnteredNamespace(4097, 4, 4026532281),), (OpenedSocket(7),))
        dispatcher.reply(client, tcp("blue"), Answer(reply, [made], [""]))
        assert client.person.allowance == 8
        dispatcher.refuse(client, 1, Refusal("denied", "no"))
        assert client.person.allowance == 6
        client.close_channel()


def test_records_of_counted_refusals_are_few_in_a_second() -> None:
    """At the end, all of them are written."""
    audit = FakeAudit()
    dispatcher = Dispatcher(InForce(Policy(()), None, audit), None, None)  # type: ignore[arg-type]  # fakes
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        for uid in range(3 * MOST_RECORDS):
            client = Client(ours, Peer(Subject(uid, frozenset()), 1, 1), Person(uid, 0, 10), Closer())
            dispatcher.refuse(client, 1, Refusal("denied", "no"), is_recorded=False)
            theirs.recv(1000)
    dispatcher.record_counted()
    assert len(audit.outcomes) == MOST_RECORDS
    dispatcher.record_counted(at_end=True)
    assert len(audit.outcomes) == 3 * MOST_RECORDS


def test_answers_that_nobody_holds_are_forgotten_each_second() -> None:
    dispatcher = Dispatcher(InForce(Policy(()), None, FakeAudit()), None, None)  # type: ignore[arg-type]  # fakes
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    before = len(os.listdir("/proc/self/fd"))
    with ours, theirs:
        client = Client(ours, Peer(Subject(1, frozenset()), 1, 1), Person(1, 0, 10), Closer())
        answer = answer_blob(1, b"answer", [""])
        assert isinstance(answer, Answer)
        dispatcher.reply(client, ResolverRequest(1, "blue"), answer)
        packet, fds, _, _ = socket.recv_fds(theirs, 1000, 1)
        assert decode_reply(packet) == BlobReply(1, 6)
        channel = socket.socket(fileno=fds[0])
        _, (fd,), _, _ = socket.recv_fds(channel, 1000, 1)
        assert os.pread(fd, 10, 0) == b"answer"
        for held in (fd, channel.detach()):
            dispatcher.record_counted()
            assert len(os.listdir("/proc/self/fd")) > before - 2
            os.close(held)
        client.close_channel()
    dispatcher.record_counted()
    assert len(os.listdir("/proc/self/fd")) == before - 2
