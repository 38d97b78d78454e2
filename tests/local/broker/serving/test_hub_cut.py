"""The hub cuts requests, and serves others in between."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack
from typing import Any

import pytest
import trio

from nsbrokerd.clients.client import Client
from nsbrokerd.clients.peer import Peer
from nsbrokerd.clients.quotas import Quotas
from nsbrokerd.policy import Subject
from nsbrokerd.serving.hub import MAX_CUT_OF_USER, Hub
from nsbrokerd.serving.intake import Cut
from support.brokers.fake_intake import FakeCloser, FakeIntake, connect

ANN, BEN, CARL = 1, 2, 3
LIMIT_S = 60


class Errand:
    """Is done as soon as a test says so, in another thread."""

    def __init__(self) -> None:
        self.callbacks: list[Callable[[], None]] = []

    def when_done(self, callback: Callable[[], None]) -> None:
        self.callbacks.append(callback)

    def do(self) -> None:
        thread = threading.Thread(target=self.callbacks.pop())
        thread.start()
        thread.join()


class Cutting(FakeIntake):
    """Serves a packet in as many pieces as it says. 0 is for a piece that waits for an errand. Notes what it does."""

    def __init__(self) -> None:
        super().__init__()
        self.is_awaited: Callable[[], bool] = lambda: False
        self.awaited: list[bool] = []
        self.done: list[tuple[int, str]] = []
        self.errand = Errand()
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    def serve_one(self, client: Client, _now: float, _quotas: Quotas) -> Any:
        packet = client.sock.recv(1)
        if not packet:
            return False
        return self._advance(self._serve(client, packet[0]))

    def resume(self, cut: Cut) -> Any:
        return self._advance(cut.steps)

    def record_counted(self, *, at_end: bool = False) -> None:
        self.done.append((0, "counted"))

    def _advance(self, steps: Any) -> Any:
        try:
            return Cut(steps, next(steps))
        except StopIteration as end:
            return end.value

    def _serve(self, client: Client, pieces: int) -> Generator[Errand | None, None, bool]:
        uid = client.person.uid
        try:
            for _ in range(pieces - 1):
                self._note(uid, "piece")
                yield None
            if not pieces:
                self._note(uid, "waits")
                yield self.errand
            self._note(uid, "end")
        except GeneratorExit:
            self._note(uid, "given up")
            raise
        return True

    def _note(self, uid: int, word: str) -> None:
        self.awaited.append(self.is_awaited())
        self.now += 0.001
        self.done.append((uid, word))


class Hall:
    """A hub with clients of some uids, that takes its turns one by one."""

    def __init__(self, listener: socket.socket, monkeypatch: pytest.MonkeyPatch, stack: ExitStack, uids: list[int]):
        peers = (Peer(Subject(uid, frozenset()), 1, 1) for uid in uids)
        monkeypatch.setattr("nsbrokerd.clients.admission.read_peer", lambda *_: next(peers))
        self.intake = Cutting()
        self.hub = Hub(listener, self.intake, FakeCloser(), Quotas(), clock=self.intake.clock)  # type: ignore[arg-type]  # fakes
        self.intake.is_awaited = self.hub.is_awaited
        self.clients = [stack.enter_context(connect(listener)) for _ in uids]
        self.hub._accept(0)

    def give_turns(self) -> None:
        """Give turns until nobody is ready."""
        while (ready := self.hub._epoll.poll(0, 16)) or self.hub._cut_turns:
            self.hub._give_turn(ready, self.intake.now)


@pytest.fixture
def make_hall(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> Any:
    with ExitStack() as stack:
        yield lambda *uids: Hall(listener, monkeypatch, stack, list(uids))


def test_others_are_served_between_the_pieces_of_a_request(make_hall: Callable[..., Hall]) -> None:
    hall = make_hall(ANN, BEN)
    hall.clients[0].send(b"\x0a")
    hall.hub._give_turn(hall.hub._epoll.poll(0, 1), 0)
    for _ in range(4):
        hall.clients[1].send(b"\x01")
    hall.give_turns()
    order = [uid for uid, _ in hall.intake.done]
    assert (order.count(ANN), order.count(BEN)) == (10, 4)
    assert order[:9].count(BEN) == 4
    hall.hub.finish()


def test_piece_is_awaited_by_other_users_and_new_clients_only(
    make_hall: Callable[..., Hall], listener: socket.socket
) -> None:
    """Not by other connections of its user."""
    hall = make_hall(ANN, ANN, BEN)
    hall.clients[0].send(b"\x09")
    hall.clients[1].send(b"\x01")
    awaited = []
    for turn in range(20):
        if turn == 1:
            hall.clients[2].send(b"\x14")
        hall.hub._give_turn(hall.hub._epoll.poll(0, 16), hall.intake.now)
        awaited.append((hall.intake.done[-1][0], hall.intake.awaited[-1]))
    assert awaited[:2] == [(ANN, False), (BEN, True)]
    assert (ANN, True) in awaited[2:]
    hall.give_turns()
    assert not hall.hub.is_awaited()
    with connect(listener):
        assert hall.hub.is_awaited()
    hall.hub.finish()


def test_piece_is_awaited_by_other_tasks_after_a_while(make_hall: Callable[..., Hall]) -> None:
    hall = make_hall(ANN)
    hall.hub._others_ran_at = hall.intake.now
    assert not hall.hub.is_awaited()
    hall.intake.now += 0.02
    assert not hall.hub.is_awaited()
    hall.intake.is_busy = True
    assert hall.hub.is_awaited()
    hall.hub.finish()


def test_connection_has_one_request_at_a_time_served(make_hall: Callable[..., Hall]) -> None:
    hall = make_hall(ANN)
    hall.clients[0].send(b"\x03")
    hall.clients[0].send(b"\x01")
    hall.give_turns()
    assert hall.intake.done == [(ANN, "piece"), (ANN, "piece"), (ANN, "end"), (ANN, "end")]
    hall.hub.finish()


def test_other_connections_of_a_user_are_served_while_a_request_waits(make_hall: Callable[..., Hall]) -> None:
    hall = make_hall(ANN, ANN)
    hall.clients[0].send(b"\x00")
    hall.give_turns()
    hall.clients[1].send(b"\x01")
    hall.give_turns()
    assert hall.intake.done == [(ANN, "waits"), (ANN, "end")]
    hall.intake.errand.do()
    hall.give_turns()
    assert hall.intake.done[2:] == [(ANN, "end")]
    hall.hub.finish()


def test_request_that_waits_wakes_up_the_hub(make_hall: Callable[..., Hall]) -> None:
    """It sleeps in its epoll meanwhile."""
    hall = make_hall(ANN)
    hall.clients[0].send(b"\x00")

    async def serve() -> None:
        with trio.fail_after(LIMIT_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(hall.hub.run)
                while not hall.intake.errand.callbacks:
                    await trio.sleep(0.001)
                hall.intake.errand.do()
                while (ANN, "end") not in hall.intake.done:
                    await trio.sleep(0.001)
                nursery.cancel_scope.cancel()

    trio.run(serve)
    hall.hub.finish()


@pytest.mark.parametrize("others", [0, 1])
def test_request_of_a_client_that_is_gone_is_given_up(make_hall: Callable[..., Hall], others: int) -> None:
    """Also if it is the user's only client."""
    hall = make_hall(ANN, *[ANN] * others)
    hall.clients[0].send(b"\x00")
    hall.give_turns()
    hall.clients[0].close()
    hall.give_turns()
    assert hall.intake.done == [(ANN, "waits"), (ANN, "given up")]
    assert len(hall.hub._clients) == others
    hall.intake.errand.do()
    hall.give_turns()
    assert len(hall.intake.done) == 2
    hall.hub.finish()


def test_descriptor_is_not_closed_while_a_thread_wakes_the_hub(
    make_hall: Callable[..., Hall], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the thread could write into another file that got the number."""
    monkeypatch.setattr("nsbrokerd.serving.hub._STOP_S", 0)
    hall = make_hall(ANN)
    hall.clients[0].send(b"\x00")
    hall.give_turns()
    done = hall.intake.errand.callbacks.pop()
    write, events = os.eventfd_write, []

    def write_late(fd: int, value: int) -> None:
        finishing.start()
        finishing.join(0.2)  # long enough without the lock, and in vain with it
        events.append("written")
        write(fd, value)

    def finish() -> None:
        hall.hub.finish()
        events.append("finished")

    finishing = threading.Thread(target=finish)
    monkeypatch.setattr(os, "eventfd_write", write_late)
    done()
    finishing.join(LIMIT_S)
    assert events == ["written", "finished"]
    done()


def test_requests_past_the_number_of_cut_ones_are_served_in_one_piece(make_hall: Callable[..., Hall]) -> None:
    """Each cut request holds descriptors."""
    hall = make_hall(ANN, BEN)
    hall.hub._max_cut = 1
    hall.clients[0].send(b"\x09")
    hall.hub._give_turn(hall.hub._epoll.poll(0, 16), hall.intake.now)
    hall.clients[1].send(b"\x05")
    hall.hub._give_turn(hall.hub._epoll.poll(0, 16), hall.intake.now)
    assert hall.intake.done == [(ANN, "piece"), *[(BEN, "piece")] * 4, (BEN, "end")]
    hall.hub.finish()


def test_requests_that_wait_take_no_cuts_of_others(
    make_hall: Callable[..., Hall], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if many users have as many as they can, and few requests may be cut."""
    monkeypatch.setattr("nsbrokerd.serving.hub._STOP_S", 0)
    hall = make_hall(*[CARL + number for number in range(5) for _ in range(MAX_CUT_OF_USER)], BEN)
    hall.hub._max_cut = 1
    for client in hall.clients[:-1]:
        client.send(b"\x00")
    hall.give_turns()
    hall.clients[-1].send(b"\x05")
    hall.hub._give_turn(hall.hub._epoll.poll(0, 16), hall.intake.now)
    assert hall.intake.done[5 * MAX_CUT_OF_USER :] == [(BEN, "piece")]
    hall.hub.finish()


@pytest.mark.parametrize("is_hung_up", [False, True])
def test_user_with_many_requests_in_progress_waits_with_the_next(
    make_hall: Callable[..., Hall], monkeypatch: pytest.MonkeyPatch, *, is_hung_up: bool
) -> None:
    """It would have to be served in one piece. All that wait are served as soon as one of those has ended."""
    monkeypatch.setattr("nsbrokerd.serving.hub._STOP_S", 0)
    hall = make_hall(*[ANN] * (MAX_CUT_OF_USER + 3))
    for client in hall.clients[:MAX_CUT_OF_USER]:
        client.send(b"\x00")
        hall.give_turns()
    gone, small, large = hall.clients[MAX_CUT_OF_USER:]
    for client, packet in ((gone, b"\x05"), (small, b"\x01"), (large, b"\x05")):
        client.send(packet)
        hall.give_turns()
    assert len(hall.intake.done) == MAX_CUT_OF_USER
    gone.close()
    hall.give_turns()
    assert (len(hall.intake.done), len(hall.hub._clients)) == (MAX_CUT_OF_USER, MAX_CUT_OF_USER + 2)
    if is_hung_up:
        hall.clients[0].close()
    else:
        hall.intake.errand.do()
    hall.give_turns()
    ended = (ANN, "given up" if is_hung_up else "end")
    assert hall.intake.done[MAX_CUT_OF_USER:] == [ended, (ANN, "end"), *[(ANN, "piece")] * 4, (ANN, "end")]
    hall.hub.finish()


def test_request_that_is_cut_at_the_end_is_finished_or_gets_no_answer(
    make_hall: Callable[..., Hall], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nsbrokerd.serving.hub._STOP_S", 0.0305)
    hall = make_hall(ANN, BEN)
    hall.clients[0].send(b"\x03")
    hall.clients[1].send(b"\xff")
    hall.hub.finish()
    assert hall.intake.done.count((ANN, "end")) == 1
    assert hall.intake.done[-2:] == [(BEN, "given up"), (0, "counted")]
    assert hall.clients[1].recv(1000) == b""
