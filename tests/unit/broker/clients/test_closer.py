"""Closing that can take long is left to a porter, and all other closing happens here at once."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from io import FileIO

import pytest

from nsbroker.link.fdpass import lend_packet
from nsbrokerd.clients.closer import MANY_CONNECTIONS, MAX_FILES_OF_PERSON, Closer
from support.brokers.fake_porters import FakePorters


class Somebody:
    """A person that has files."""

    uid = 1
    closing = 0
    is_named = True


ANN, BOB = Somebody(), Somebody()


@pytest.fixture
def porters() -> Iterator[FakePorters]:
    porters = FakePorters()
    yield porters
    porters.close_all()


@pytest.fixture
def closer(porters: FakePorters) -> Closer:
    return Closer(porters)  # type: ignore[arg-type]  # a fake


def connection() -> tuple[socket.SocketType, socket.socket]:
    """The broker's end, and the client's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return socket.SocketType(fileno=ours.detach()), theirs


@pytest.mark.parametrize("packets", [0, 1, 3])
def test_connection_without_descriptors_is_closed_at_once(closer: Closer, porters: FakePorters, packets: int) -> None:
    """The client can still read its replies."""
    ours, theirs = connection()
    with theirs:
        ours.send(b"reply")
        for _ in range(packets):
            theirs.send(b"request")
        closer.hang_up(ANN, ours)
        assert (ours.fileno(), porters.waiting) == (-1, [])
        assert [theirs.recv(10), theirs.recv(10)] == [b"reply", b""]


@pytest.mark.parametrize("before", [0, 1, 9])
def test_connection_with_unread_descriptors_is_left_to_a_porter(
    closer: Closer, porters: FakePorters, before: int
) -> None:
    """Also if they are behind other packets. It is over for the client at once."""
    ours, theirs = connection()
    with theirs:
        for _ in range(before):
            theirs.send(b"request")
        lend_packet(theirs, b"", [0])
        closer.hang_up(ANN, ours)
        assert [one[1:] for one in porters.waiting] == [(ANN, True)]
        assert (theirs.recv(10), ANN.closing, BOB.closing) == (b"", 1, 0)


@pytest.mark.parametrize("end", [Closer.sweep, Closer.finish])
def test_slow_file_of_another_thread_waits_for_the_main_thread(
    closer: Closer, porters: FakePorters, end: Callable[[Closer], None]
) -> None:
    """The porters are no thread's but the main one's."""
    slow, quick = socket.SocketType(socket.AF_UNIX), socket.SocketType(socket.AF_INET)
    thread = threading.Thread(target=closer.discard_in_thread, args=(ANN, (slow, quick)))
    thread.start()
    thread.join()
    assert (quick.fileno(), slow.fileno() >= 0, porters.files, closer.held) == (-1, True, [], 1)
    end(closer)
    assert [owner for _, owner in porters.files] == [ANN]
    assert slow.fileno() == -1


def test_connection_that_is_at_the_porter_is_not_looked_into(closer: Closer, porters: FakePorters) -> None:
    """While the porter takes a packet, a look would make this process the last one that has the descriptors."""
    ours, theirs = connection()
    with theirs:
        theirs.send(b"request")
        closer.hang_up(ANN, ours, is_at_porter=True)
        assert theirs.recv(10) == b""
        left = socket.socket(fileno=os.dup(porters.waiting[0][0]))
        with left:
            assert left.recv(10) == b"request"


def test_connection_that_was_turned_away_unanswered_has_no_courtesy(closer: Closer, porters: FakePorters) -> None:
    for is_answered in (True, False):
        ours, theirs = connection()
        with theirs:
            lend_packet(theirs, b"", [0])
            closer.turn_away(ANN, ours, is_answered=is_answered)
    assert [one[2] for one in porters.waiting] == [True, False]


def test_user_whose_connections_hang_by_the_hundred_is_dropped_without_courtesy(
    closer: Closer, porters: FakePorters
) -> None:
    BOB.closing = MANY_CONNECTIONS
    ours, theirs = connection()
    with theirs:
        lend_packet(theirs, b"", [0])
        closer.hang_up(BOB, ours)
    assert [one[2] for one in porters.waiting] == [False]
    BOB.closing = 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a packet socket")
@pytest.mark.parametrize(("family", "kind"), [(socket.AF_PACKET, socket.SOCK_RAW), (socket.AF_UNIX, socket.SOCK_DGRAM)])
def test_sockets_that_are_slow_to_close_are_left_to_a_porter(
    closer: Closer, porters: FakePorters, family: int, kind: int
) -> None:
    """Also if no client has got them. A Unix socket has a name, by which it can get packets with descriptors."""
    files = [socket.SocketType(), socket.SocketType(family, kind)]
    closer.discard(ANN, files)
    assert [file.fileno() for file in files] == [-1, -1]
    assert porters.files_of(ANN) == 1


def test_sockets_that_a_client_has_got_are_left_to_a_porter(closer: Closer, porters: FakePorters) -> None:
    sock, answer = socket.SocketType(), FileIO(os.memfd_create("answer"))
    closer.discard_taken(ANN, [sock, answer])
    assert (sock.fileno(), answer.closed) == (-1, True)
    assert porters.files_of(ANN) == 1


def test_person_with_too_many_files_is_full_and_others_are_not(closer: Closer) -> None:
    for number in range(MAX_FILES_OF_PERSON):
        assert not closer.is_full(ANN), number
        closer.discard_taken(ANN, [socket.SocketType()])
    assert closer.is_full(ANN)
    assert not closer.is_full(BOB)
