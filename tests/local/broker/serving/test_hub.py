"""The hub serves clients by turns."""

from __future__ import annotations

import itertools
import os
import socket
from collections import Counter
from contextlib import ExitStack

import pytest
import trio

from nsbroker.wire import ErrorReply
from nsbrokerd.clients.client import Client
from nsbrokerd.clients.peer import Peer
from nsbrokerd.clients.quotas import Quotas
from nsbrokerd.policy import Subject
from nsbrokerd.serving.hub import Hub
from support.brokers.fake_intake import FakeCloser, FakeIntake, connect

CLIENTS = 5
TURNS = 20


class SlowlyAsked(FakeIntake):
    """Clients ask again, each a while after its turn."""

    def __init__(self, clients: dict[bytes, socket.socket]) -> None:
        super().__init__()
        self.served: list[bytes] = []
        self._clients = clients

    def serve_one(self, client: Client, _now: float, _quotas: Quotas) -> bool:
        if self.served:
            # By now, the one before has had time to read its reply.
            self._clients[self.served[-1]].send(self.served[-1])
        self.served.append(client.sock.recv(1))
        if len(self.served) == 2 * CLIENTS * TURNS:
            self.scope.cancel()
        return True


def run(hub: Hub, scope: trio.CancelScope) -> None:
    """Run a hub until the scope ends, but not forever."""

    async def serve() -> None:
        with scope, trio.move_on_after(20):
            await hub.run()

    trio.run(serve)


class SweptCloser(FakeCloser):
    """Ends the hub in a sweep, as soon as a condition holds."""

    def __init__(self, scope: trio.CancelScope) -> None:
        self._scope = scope
        self.condition = lambda: False

    def sweep(self) -> None:
        if self.condition():
            self._scope.cancel()


def test_user_that_is_gone_is_forgotten(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the broker's memory would grow with each uid that ever connected."""
    monkeypatch.setattr("nsbrokerd.serving.hub._SWEEP_S", 0.001)
    monkeypatch.setattr("nsbrokerd.clients.persons.BURST_S", 0.001)
    intake = FakeIntake()
    closer = SweptCloser(intake.scope)
    hub = Hub(listener, intake, closer, Quotas())  # type: ignore[arg-type]  # fakes
    closer.condition = lambda: not hub._persons._by_uid
    with connect(listener):
        hub._accept(0)
        assert list(hub._persons._by_uid) == [os.geteuid()]
    run(hub, intake.scope)
    assert hub._persons._by_uid == {}
    hub.finish()


class Talkative(FakeIntake):
    """Answers each packet at length."""

    served = 0

    def serve_one(self, client: Client, _now: float, _quotas: Quotas) -> bool:
        client.sock.recv(1)
        client.refuse(ErrorReply(1, "denied", "x" * 2000))
        self.served += 1
        return True


def test_client_that_does_not_read_is_dropped(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub drops it after a while. Until then, it gets no more replies than fit its queue."""
    monkeypatch.setattr("nsbrokerd.serving.hub._SWEEP_S", 0.001)
    intake = Talkative()
    closer = SweptCloser(intake.scope)
    hub = Hub(listener, intake, closer, Quotas(reply_timeout_s=0))  # type: ignore[arg-type]  # fakes
    closer.condition = lambda: intake.served > 0 and not hub._clients
    with connect(listener) as client:
        for _ in range(50):
            client.send(b"x")
        run(hub, intake.scope)
        assert hub._clients == {}
        assert 1 < intake.served < 50
    hub.finish()


def test_client_that_soon_asks_again_has_as_many_turns_as_the_others(listener: socket.socket) -> None:
    """Also the last one of several that were ready together: it needs a moment before it is ready again."""
    with ExitStack() as stack:
        clients = {}
        for i in range(CLIENTS):
            client = stack.enter_context(connect(listener))
            clients[b"%d" % i] = client
            client.send(b"%d" % i)
        intake = SlowlyAsked(clients)
        ticks = itertools.count()
        # By this clock, each turn takes the same time.
        hub = Hub(listener, intake, FakeCloser(), Quotas(), clock=lambda: next(ticks) * 1e-5)  # type: ignore[arg-type]

        async def serve() -> None:
            with intake.scope, trio.fail_after(60):
                await hub.run()

        trio.run(serve)
        hub.finish()
    # The first ones are served before the hub has accepted the last one.
    turns = Counter(intake.served[CLIENTS * TURNS : 2 * CLIENTS * TURNS])
    assert set(turns.values()) == {TURNS}


class InOrder(FakeIntake):
    """Notes which client is served, until all packets are."""

    def __init__(self) -> None:
        super().__init__()
        self.served: list[bytes] = []

    def serve_one(self, client: Client, _now: float, _quotas: Quotas) -> bool:
        self.served.append(client.sock.recv(1))
        if len(self.served) == CLIENTS * TURNS:
            self.scope.cancel()
        return True


def test_connections_that_always_have_a_request_take_turns(listener: socket.socket) -> None:
    """A connection with many requests in its queue does not come first again before the others had their turn."""
    intake = InOrder()
    hub = Hub(listener, intake, FakeCloser(), Quotas())  # type: ignore[arg-type]  # fakes
    with ExitStack() as stack:
        for i in range(CLIENTS):
            client = stack.enter_context(connect(listener))
            for _ in range(TURNS):
                client.send(b"%d" % i)
        while len(hub._clients) < CLIENTS:
            hub._accept(0)
        run(hub, intake.scope)
    hub.finish()
    half = CLIENTS * TURNS // 2  # All have requests left.
    assert sorted(intake.served[half : half + CLIENTS]) == [b"%d" % i for i in range(CLIENTS)]


class Costly(FakeIntake):
    """Serves each packet in as many seconds of a clock of its own as the packet says, and notes whose it was."""

    def __init__(self, packets: int) -> None:
        super().__init__()
        self.now = 0.0
        self.served: list[int] = []
        self._packets = packets

    def clock(self) -> float:
        return self.now

    def serve_one(self, client: Client, _now: float, _quotas: Quotas) -> bool:
        packet = client.sock.recv(1)
        if not packet:
            return False
        self.now += packet[0]
        self.served.append(client.person.uid)
        if len(self.served) == self._packets:
            self.scope.cancel()
        return True


def serve_users(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch, uids: list[int], packets: list[list[int]]
) -> list[int]:
    """Let a connection of each uid send its packets, and return the order in which the users were served."""
    peers = (Peer(Subject(uid, frozenset()), 1, 1) for uid in uids)
    monkeypatch.setattr("nsbrokerd.clients.admission.read_peer", lambda *_: next(peers))
    intake = Costly(sum(map(len, packets)))
    hub = Hub(listener, intake, FakeCloser(), Quotas(), clock=intake.clock)  # type: ignore[arg-type]  # fakes
    with ExitStack() as stack:
        for each in packets:
            client = stack.enter_context(connect(listener))
            for seconds in each:
                client.send(bytes([seconds]))
        hub._accept(0)
        run(hub, intake.scope)
    hub.finish()
    return intake.served


def test_user_whose_requests_take_long_has_fewer_turns(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that takes ten seconds costs as much as ten requests of one second."""
    slow, quick = 1, 2
    served = serve_users(listener, monkeypatch, [slow, quick], [[10] * 3, [1] * 30])
    assert all(abs(served[: at * 11].count(slow) - at) <= 1 for at in (1, 2, 3))


def test_users_that_always_have_a_request_take_turns(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user with many connections is served as often as a user with one."""
    greedy, modest = 1, 2
    served = serve_users(listener, monkeypatch, [greedy] * (CLIENTS - 1) + [modest], [[1] * TURNS] * CLIENTS)
    for so_far in range(1, 2 * TURNS):
        counted = Counter(served[:so_far])
        assert abs(counted[greedy] - counted[modest]) <= 1


def test_user_does_not_pay_less_by_connecting_anew(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its account stays for a while after its last connection."""
    uids = iter([1, 2, 1])
    monkeypatch.setattr(
        "nsbrokerd.clients.admission.read_peer", lambda *_: Peer(Subject(next(uids), frozenset()), 1, 1)
    )
    intake = Costly(10)
    hub = Hub(listener, intake, FakeCloser(), Quotas(), clock=intake.clock)  # type: ignore[arg-type]  # fakes
    with connect(listener) as first, connect(listener) as other:
        hub._accept(0)
        for client, seconds in ((first, 100), (other, 1)):
            client.send(bytes([seconds]))
        for _ in range(2):
            hub._give_turn(hub._epoll.poll(0), intake.now)
        assert sorted(intake.served) == [1, 2]
        hub._drop(next(iter(hub._clients.values())))
        with connect(listener) as again:
            hub._accept(0)
            again.send(b"\x01")
            for _ in range(50):
                other.send(b"\x01")
                hub._give_turn(hub._epoll.poll(0), intake.now)
    assert intake.served[2:].count(1) == 0
    hub.finish()


class Counting(FakeIntake):
    """Counts the packets."""

    served = 0

    def serve_one(self, client: Client, _now: float, _quotas: Quotas) -> bool:
        self.served += client.sock.recv(1) == b"x"
        return True


def test_packets_that_came_before_the_end_are_served(listener: socket.socket) -> None:
    """The hub serves those of all clients, and then drops the clients."""
    intake = Counting()
    hub = Hub(listener, intake, FakeCloser(), Quotas())  # type: ignore[arg-type]  # fakes
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(listener)) for _ in range(3)]
        hub._accept(0)
        for client in clients:
            for _ in range(3):
                client.send(b"x")
        hub.finish()
        assert intake.served == 9
        assert [client.recv(1) for client in clients] == [b""] * 3


class Once(InOrder):
    """Notes each packet, and ends with the first one."""

    def serve_one(self, client: Client, _now: float, _quotas: Quotas) -> bool:
        self.served.append(client.sock.recv(1))
        self.scope.cancel()
        return bool(self.served[-1])


def test_client_that_is_dropped_while_others_run_harms_nobody(listener: socket.socket) -> None:
    """It had a request, and the hub was about to serve it. The next client is served."""
    intake = Once()
    ticks = itertools.count()
    # By this clock, the others have their turn before the first request, and not again.
    hub = Hub(listener, intake, FakeCloser(), Quotas(), clock=lambda: min(next(ticks), 1))  # type: ignore[arg-type]
    with ExitStack() as stack:

        class Others:
            """Stands for the tasks that run at a checkpoint, such as the sweep."""

            def look(self) -> None:
                for client in list(hub._clients.values()):
                    hub._drop(client)
                stack.enter_context(connect(listener)).send(b"2")
                hub._accept(0)

        hub._time = Others()  # type: ignore[assignment]
        stack.enter_context(connect(listener)).send(b"1")
        hub._accept(0)
        run(hub, intake.scope)
    hub.finish()
    assert intake.served[0] == b"2"
