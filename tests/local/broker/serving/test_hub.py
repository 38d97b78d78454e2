"""The hub serves clients by turns."""

from __future__ import annotations

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
        if len(self.served) == CLIENTS * TURNS:
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

    def interrupt(self) -> None:
        if self.condition():
            self._scope.cancel()


def test_user_that_is_gone_is_forgotten(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the broker's memory would grow with each uid that ever connected."""
    monkeypatch.setattr("nsbrokerd.serving.hub._SWEEP_S", 0.001)
    monkeypatch.setattr("nsbrokerd.clients.admission.BURST_S", 0.001)
    intake = FakeIntake()
    closer = SweptCloser(intake.scope)
    hub = Hub(listener, intake, closer, Quotas())  # type: ignore[arg-type]  # fakes
    closer.condition = lambda: not hub._users._by_uid
    with connect(listener):
        hub._accept(0)
        assert list(hub._users._by_uid) == [os.geteuid()]
    run(hub, intake.scope)
    assert hub._users._by_uid == {}
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
        hub = Hub(listener, intake, FakeCloser(), Quotas())  # type: ignore[arg-type]  # a fake

        async def serve() -> None:
            with intake.scope, trio.fail_after(60):
                await hub.run()

        trio.run(serve)
        hub.finish()
    turns = Counter(intake.served[: CLIENTS * TURNS])
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
        run(hub, intake.scope)
    hub.finish()
    half = CLIENTS * TURNS // 2  # All are accepted by then, and all have requests left.
    assert sorted(intake.served[half : half + CLIENTS]) == [b"%d" % i for i in range(CLIENTS)]


def test_users_that_always_have_a_request_take_turns(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user with many connections is served as often as a user with one."""
    greedy, modest = b"1", b"2"
    uids = [1] * (CLIENTS - 1) + [2]
    peers = (Peer(Subject(uid, frozenset()), 1, 1) for uid in uids)
    monkeypatch.setattr("nsbrokerd.clients.admission.read_peer", lambda *_: next(peers))
    intake = InOrder()
    hub = Hub(listener, intake, FakeCloser(), Quotas())  # type: ignore[arg-type]  # fakes
    with ExitStack() as stack:
        for uid in uids:
            client = stack.enter_context(connect(listener))
            for _ in range(TURNS):
                client.send(b"%d" % uid)
        hub._accept(0)
        run(hub, intake.scope)
    hub.finish()
    served = Counter(intake.served[: 2 * TURNS])
    assert abs(served[greedy] - served[modest]) <= 1


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
