"""The broker admits clients, as many as the quotas allow."""

from __future__ import annotations

import array
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from nsbroker.wire import OVERLOADED, ErrorReply, decode_reply
from nsbrokerd.clients.admission import (
    DESCRIPTORS_BESIDE_CLIENTS,
    DESCRIPTORS_TO_TURN_AWAY,
    LONG_QUEUE,
    SHORT_QUEUE,
    Admission,
)
from nsbrokerd.clients.arrivals import ANSWERED, BURST
from nsbrokerd.clients.client import Client, Person
from nsbrokerd.clients.closer import Closer
from nsbrokerd.clients.persons import Persons
from nsbrokerd.clients.quotas import Quotas
from support.brokers.fake_intake import FakeCloser, connect
from support.brokers.fake_porters import FakePorters

UID = os.geteuid()
LIMIT_S = 60


def test_client_beyond_the_quota_of_all_is_told_and_closed(tmp_path: Path) -> None:
    path = str(tmp_path / "admission.sock")
    users = Persons(Quotas(clients=2))
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        listener.bind(path)
        listener.listen()
        clients = [stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)) for _ in range(3)]
        for client in clients:
            client.connect(path)
        admitted, trouble = Admission(listener, users, FakeCloser()).accept(0)  # type: ignore[arg-type]  # a fake
        for one in admitted:
            stack.callback(one.sock.close)
        assert (len(admitted), trouble, users.clients) == (2, None, 2)
        reply = decode_reply(clients[2].recv(4096))
        assert isinstance(reply, ErrorReply)
        assert (reply.request_id, reply.code) == (None, OVERLOADED)
        assert clients[2].recv(1) == b""


class CountingListener:
    """A listener that notes how many connections were accepted, and how long its queue may be."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.accepted = 0
        self.queues: list[int] = []
        self.setblocking = sock.setblocking

    def listen(self, length: int) -> None:
        self.queues.append(length)
        self.sock.listen(length)

    def _accept(self) -> tuple[int, object]:
        fd, address = self.sock._accept()  # type: ignore[attr-defined]  # accept() of the C class
        self.accepted += 1
        return fd, address


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[CountingListener]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.bind(str(tmp_path / "admission.sock"))
        yield CountingListener(sock)


def impatient(persons: Persons) -> Person:
    """Use up the quota of new connections of this process."""
    person = persons.of(UID, 0)
    while person.arrivals.take(0):
        pass
    return person


def turn_away(
    admission: Admission, listener: CountingListener, packet: bytes = b"", fds: tuple[int, ...] = ()
) -> bytes:
    """Connect, send a packet if there is one, and return the broker's answer."""
    with connect(listener.sock) as client:
        if packet:
            client.sendmsg([packet], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])
        assert admission.accept(0) == ([], None)
        client.settimeout(LIMIT_S)
        try:
            return client.recv(4096)
        except ConnectionResetError:
            return b""


def test_connections_past_the_rate_are_closed_and_only_the_first_ones_are_answered(listener: CountingListener) -> None:
    """The answer says what to do. No client is made for any of them."""
    persons, closer = Persons(Quotas()), Closer()
    admission = Admission(listener, persons, closer)  # type: ignore[arg-type]  # a fake
    impatient(persons)
    answers = [turn_away(admission, listener, b"x") for _ in range(ANSWERED + 5)]
    for answer in answers[:ANSWERED]:
        reply = decode_reply(answer)
        assert isinstance(reply, ErrorReply)
        assert (reply.request_id, reply.code) == (None, OVERLOADED)
        assert "keep a connection for many requests" in reply.message
    assert answers[ANSWERED:] == [b""] * 5
    assert (persons.clients, closer.connections) == (0, 0)


def test_another_person_is_admitted_while_one_opens_too_many(
    listener: CountingListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    persons = Persons(Quotas())
    admission = Admission(listener, persons, FakeCloser())  # type: ignore[arg-type]  # fakes
    impatient(persons)
    turn_away(admission, listener)
    monkeypatch.setattr("nsbrokerd.clients.admission.read_uid", lambda _: UID + 1)
    with connect(listener.sock):
        (client,), _ = admission.accept(0)
        client.sock.close()


def test_queue_is_short_while_a_person_opens_too_many(listener: CountingListener) -> None:
    """Meanwhile each turn accepts one connection. The sweep makes the queue long again after a calm second."""
    persons = Persons(Quotas())
    admission = Admission(listener, persons, FakeCloser())  # type: ignore[arg-type]  # fakes
    impatient(persons)
    with ExitStack() as stack:
        for _ in range(7):
            stack.enter_context(connect(listener.sock))
        accepted = []
        for _ in range(3):
            assert admission.accept(0) == ([], None)
            accepted.append(listener.accepted)
        assert accepted == [4, 5, 6]
        assert admission.accept(0) == ([], None)
    admission.report()
    assert listener.queues == [LONG_QUEUE, SHORT_QUEUE]
    admission.report()
    assert listener.queues == [LONG_QUEUE, SHORT_QUEUE, LONG_QUEUE]


def test_turn_of_accepting_is_short(listener: CountingListener) -> None:
    """Connected clients do not wait until a hundred others are accepted."""
    admission = Admission(listener, Persons(Quotas()), FakeCloser())  # type: ignore[arg-type]  # fakes
    with ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(connect(listener.sock))
        for client in admission.accept(0)[0]:
            client.sock.close()
    assert 0 < listener.accepted <= 16


def test_descriptors_of_a_connection_past_the_rate_are_dropped_by_a_porter(listener: CountingListener) -> None:
    """Also if other packets are before it. Such a connection counts as one of its person until it is closed."""
    persons, porters = Persons(Quotas()), FakePorters()
    admission = Admission(listener, persons, Closer(porters))  # type: ignore[arg-type]  # fakes
    person = impatient(persons)
    while person.arrivals.take_answer(0):
        pass
    with connect(listener.sock) as client:
        for fds in ([], [0]):
            client.sendmsg([b""], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])
        assert admission.accept(0) == ([], None)
    assert person.closing == 1
    assert porters.waiting[0][1:] == (person, False)
    porters.close_all()


def test_connections_that_hang_are_of_the_quota_of_their_person(listener: CountingListener) -> None:
    persons = Persons(Quotas(clients_per_user=3))
    admission = Admission(listener, persons, FakeCloser())  # type: ignore[arg-type]  # fakes
    person = persons.of(UID, 0)
    person.closing = 2
    with connect(listener.sock), connect(listener.sock):
        clients, trouble = admission.accept(0)
        for client in clients:
            client.sock.close()
    assert (len(clients), trouble) == (1, None)
    for _ in clients:
        persons.leave(person)
    persons.forget_idle(10_000)
    assert persons.of(UID, 10_000) is person


@pytest.mark.parametrize("share", [16, 4, 2])
def test_accepting_slows_down_but_goes_on_while_very_many_connections_hang(
    listener: CountingListener, share: int
) -> None:
    """One person's hostile descriptors do not keep all others out."""
    closer = FakeCloser()
    closer.connections = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // share
    admission = Admission(listener, Persons(Quotas()), closer)  # type: ignore[arg-type]  # fakes
    with connect(listener.sock):
        clients, trouble = admission.accept(0)
        assert (len(clients), trouble) == (1, None)
        assert admission.rest_s > 0
        clients[0].sock.close()


def test_queue_is_short_while_very_many_connections_hang(listener: CountingListener) -> None:
    """It takes long to get through a long one. The sweep makes it long again after a turn in which few hang."""
    closer = FakeCloser()
    closer.connections = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2
    admission = Admission(listener, Persons(Quotas()), closer)  # type: ignore[arg-type]  # fakes
    for _ in range(2):
        admission.accept(0)
        admission.report()
    assert listener.queues == [LONG_QUEUE, SHORT_QUEUE]
    closer.connections = 0
    admission.accept(0)
    admission.report()
    assert listener.queues == [LONG_QUEUE, SHORT_QUEUE, LONG_QUEUE]


def test_connections_that_hang_never_take_the_descriptors_of_requests(
    listener: CountingListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients are refused first, and a little later nothing is accepted at all until some are closed."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (4096, 4096))
    closer = FakeCloser()
    closer.held = 4096 - DESCRIPTORS_BESIDE_CLIENTS
    admission = Admission(listener, Persons(Quotas()), closer)  # type: ignore[arg-type]  # fakes
    with connect(listener.sock) as client:
        assert admission.accept(0) == ([], None)
        assert b"too many clients" in client.recv(4096)
    closer.held += DESCRIPTORS_TO_TURN_AWAY
    with connect(listener.sock):
        assert admission.accept(0) == ([], None)
        assert listener.accepted == 1
        assert admission.rest_s > 0
        closer.held = 0
        (one,), _ = admission.accept(0)
        assert isinstance(one, Client)
        one.sock.close()


def test_a_thousand_clients_of_one_person_at_once_are_admitted(listener: CountingListener) -> None:
    persons = Persons(Quotas())
    admission = Admission(listener, persons, FakeCloser())  # type: ignore[arg-type]  # fakes
    assert BURST >= 1000
    for _ in range(1000):
        with connect(listener.sock):
            (client,), _ = admission.accept(0)
            client.sock.close()
    assert persons.clients == 1000


def test_quota_of_new_connections_is_not_forgotten_early() -> None:
    """A user without connections could have it full again at once."""
    persons = Persons(Quotas())
    person = impatient(persons)
    person.refilled_at = -10
    persons.forget_idle(0)
    assert persons.of(UID, 0) is person
    persons.forget_idle(1000)
    assert persons.of(UID, 1000) is not person
