"""The one path of an answer to its client, when the channel for its descriptors can't be made."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from nsbroker.wire import OVERLOADED, EnteredNamespace, ErrorReply, OpenedSocket, OpenReply, decode_reply
from nsbrokerd.clients.client import RECORD_BYTES, Client, User
from nsbrokerd.clients.peer import Peer
from nsbrokerd.policy import Policy, Subject
from nsbrokerd.policy.plans import Refusal
from nsbrokerd.requests.dispatch import Dispatcher
from nsbrokerd.requests.operation import Answer, InForce
from support.brokers.raw_client import tcp


class FakeAudit:
    """Notes the outcome of each record."""

    def __init__(self, record_bytes: int = 100) -> None:
        self.record_bytes = record_bytes
        self.outcomes: list[str] = []

    def allowed(self, *_: object) -> int:
        self.outcomes.append("allowed")
        return self.record_bytes

    def refused(self, *_: object) -> int:
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
        client = Client(ours, Peer(Subject(1, frozenset()), 1, 1), User(1, 0, 1))
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
        client = Client(ours, Peer(Subject(1, frozenset()), 1, 1), User(1, 0, 10))
        reply = OpenReply(1, (EnteredNamespace(4097, 4, 4026532281),), (OpenedSocket(7),))
        dispatcher.reply(client, tcp("blue"), Answer(reply, [made], [""]))
        assert client.user.allowance == 8
        dispatcher.refuse(client, 1, Refusal("denied", "no"))
        assert client.user.allowance == 6
        client.close_channel()
