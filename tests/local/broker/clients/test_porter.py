"""One porter as the broker sees it. The test is the process at the other end."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from nsbroker.link import fdpass
from nsbrokerd.clients.porter import GATHERED, HUNG_AFTER_S, MAX_PACKETS_AHEAD, File, Porter, Taken
from nsbrokerd.clients.porter_process import CLOSE, DONE, DROP, FOREIGN, LOST, NAMESPACES, TAKE


class Somebody:
    """A person that has files."""

    uid = 1
    closing = 0
    is_named = True


ANN = Somebody()


class Clock:
    """A clock that the test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Pair:
    """A porter, the end of its process, and its clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        ours, self.process = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.porter = Porter(ours, self.clock)

    def next_order(self) -> tuple[bytes, int]:
        """Return the next order, and how many files it brings."""
        order, fds = fdpass.take_packet(self.process, 2, 253, socket.MSG_DONTWAIT)
        for fd in fds:
            os.close(fd)
        return order, len(fds)

    def answer(self, answer: bytes, fds: tuple[int, ...] = ()) -> list[File] | None:
        fdpass.lend_packet(self.process, answer, fds)
        return self.porter.hear()


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair()
    yield pair
    waiting, _ = pair.porter.end()
    for file in waiting:
        os.close(file.fd)
    pair.process.close()


def a_file() -> int:
    return os.open("/dev/null", os.O_RDONLY)


def take(pair: Pair, most: int = 1) -> Taken:
    taken = pair.porter.take(0, most)
    assert taken is not None
    return taken


def test_packet_is_taken_with_as_many_descriptors_as_are_named(pair: Pair) -> None:
    taken = take(pair, 16)
    assert pair.next_order() == (TAKE + b"\x10", 1)
    done: list[int] = []
    taken.when_done(lambda: done.append(1))
    pair.answer(NAMESPACES, (0, 1))
    assert (taken.answer, len(taken.fds), done) == (NAMESPACES, 2, [1])
    taken.when_done(lambda: done.append(2))
    assert done == [1, 2]
    assert pair.porter.is_idle
    taken.abandon()
    assert taken.fds == []


def test_descriptors_of_a_request_that_was_given_up_are_closed(pair: Pair) -> None:
    before = len(os.listdir("/proc/self/fd"))
    taken = take(pair)
    pair.next_order()
    taken.abandon()
    pair.answer(NAMESPACES, (0, 1))
    assert len(os.listdir("/proc/self/fd")) == before


def test_request_does_not_wait_for_a_porter_that_hangs(pair: Pair) -> None:
    """The porter takes no more packets until it goes on. What it must close still goes to it."""
    done: list[int] = []
    first, second = take(pair), take(pair)
    for one in (first, second):
        one.when_done(lambda: done.append(1))
    pair.answer(FOREIGN)
    pair.porter.look(HUNG_AFTER_S)
    assert (done, pair.porter.is_hung) == ([1], False)
    pair.porter.look(HUNG_AFTER_S + 1)
    assert (done, second.answer, pair.porter.is_hung) == ([1, 1], None, True)
    assert pair.porter.take(0, 1) is None
    assert pair.porter.put(File(a_file())) == []
    pair.clock.now = HUNG_AFTER_S + 1
    pair.answer(DONE)
    assert not pair.porter.is_hung
    pair.porter.look(HUNG_AFTER_S + 2)
    assert not pair.porter.is_hung
    assert take(pair) is not None


def test_packets_that_wait_are_bounded(pair: Pair) -> None:
    for _ in range(MAX_PACKETS_AHEAD):
        take(pair)
    assert pair.porter.take(0, 1) is None
    pair.answer(LOST)
    pair.answer(DONE)
    take(pair)


def test_files_are_counted_until_they_are_closed(pair: Pair) -> None:
    """And this process has no copy of them."""
    fd, connection = a_file(), a_file()
    pair.porter.put(File(fd))
    pair.porter.put(File(connection, ANN, has_courtesy=True))
    assert not os.path.exists(f"/proc/self/fd/{fd}")
    assert [pair.next_order(), pair.next_order()] == [(CLOSE, 1), (DROP, 1)]
    assert pair.porter.files == 1
    assert [pair.answer(DONE), pair.answer(DONE)] == [[File(fd)], [File(connection, ANN, True)]]
    assert pair.porter.files == 0


def test_files_beyond_a_few_orders_are_sent_together(pair: Pair) -> None:
    """So few descriptors of this process wait, and the room of the porter's socket holds very many."""
    for number in range(20 * GATHERED):
        assert pair.porter.put(File(a_file(), ANN)) == []
        assert pair.porter.held < GATHERED, number
    sizes = []
    while True:
        try:
            sizes.append(pair.next_order()[1])
        except BlockingIOError:
            break
    assert max(sizes) == GATHERED
    assert sum(sizes) + pair.porter.held == 20 * GATHERED
    held = pair.porter.held
    for _ in sizes:
        pair.answer(DONE)
        assert pair.porter.send_waiting() == []
    assert pair.porter.held == 0
    assert pair.next_order()[1] == held


def test_half_a_million_connections_find_room(pair: Pair) -> None:
    """The kernel lets a user have as many descriptors in flight. Here it has fewer, so the packets are without them."""
    packets = 524_288 // GATHERED
    for _ in range(packets):
        pair.porter.sock.send(b"d", socket.MSG_DONTWAIT)


def test_files_that_a_porter_can_not_get_come_back(pair: Pair) -> None:
    pair.process.close()
    file = File(a_file())
    assert pair.porter.put(file) == [file]
    assert pair.porter.take(0, 1) is None
    assert pair.porter.hear() is None
    os.close(file.fd)
    assert pair.porter.files == 0


def test_porter_that_was_killed_keeps_no_request_waiting(pair: Pair) -> None:
    taken = take(pair)
    done: list[int] = []
    taken.when_done(lambda: done.append(1))
    file = File(a_file(), ANN)
    pair.porter.put(file)
    assert pair.porter.end() == ([], [file])
    assert (taken.answer, done) == (LOST, [1])
