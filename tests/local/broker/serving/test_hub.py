"""The hub serves clients by turns."""

from __future__ import annotations

import os
import socket
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from nsbroker.wire import ErrorReply
from nsbrokerd.clients.client import Client
from nsbrokerd.clients.quotas import Quotas
from nsbrokerd.serving.hub import Hub
from support.brokers.fake_intake import FakeCloser, FakeIntake

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


class Departure(FakeIntake):
    """Ends the hub as soon as it has forgotten all users, or after a thousand looks in vain."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0
        self.hub: Hub | None = None

    def interrupt(self) -> None:
        assert self.hub is not None
        self.looks += 1
        if (self.looks > 1 and not self.hub._users._by_uid) or self.looks > 1000:
            self.scope.cancel()


def test_user_that_is_gone_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the broker's memory would grow with each uid that ever connected."""
    monkeypatch.setattr("nsbrokerd.serving.hub._SWEEP_S", 0.001)
    monkeypatch.setattr("nsbrokerd.clients.users._BURST_S", 0.001)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "hub.sock"))
        listener.listen()
        intake = Departure()
        hub = intake.hub = Hub(listener, intake, Limits(), None)  # type: ignore[arg-type]  # a fake
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            client.connect(listener.getsockname())
            hub._accept(0)
            assert list(hub._users._by_uid) == [os.geteuid()]

        async def serve() -> None:
            with intake.scope, trio.fail_after(60):
                await hub.run()

        trio.run(serve)
        assert hub._users._by_uid == {}
        hub.finish()


class Talkative(FakeIntake):
    """Answers at length, and ends the hub when it drops a client."""

    served = 0

    def serve_one(self, client: Client, _now: float, _limits: Limits) -> bool:
        client.sock.recv(1)
        client.reply(ErrorReply(1, "denied", "x" * 2000))
        self.served += 1
        return True

    def hang_up(self, uid: int, connection: socket.SocketType) -> None:
        super().hang_up(uid, connection)
        self.scope.cancel()


def test_client_that_does_not_read_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while; until then it gets no more replies than fit its queue, whatever it sends."""
    monkeypatch.setattr("nsbrokerd.serving.hub._SWEEP_S", 0.001)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "hub.sock"))
        listener.listen()
        intake = Talkative()
        hub = Hub(listener, intake, Limits(reply_timeout_s=0), None)  # type: ignore[arg-type]  # a fake
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            client.connect(listener.getsockname())
            for _ in range(50):
                client.send(b"x")

            async def serve() -> None:
                with intake.scope, trio.move_on_after(10):
                    await hub.run()

            trio.run(serve)
            assert hub._clients == {}
            assert 1 < intake.served < 50
        hub.finish()


def test_who_asks_again_soon_has_as_many_turns_as_the_others(tmp_path: Path) -> None:
    """Also the last one of those that were ready together: it needs a moment before it is ready again."""
    path = str(tmp_path / "hub.sock")
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        listener.bind(path)
        listener.listen()
        clients = {}
        for i in range(CLIENTS):
            client = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            client.connect(path)
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


class Counting(FakeIntake):
    """Counts the packets that it is given."""

    served = 0

    def serve_one(self, client: Client, _now: float, _limits: Limits) -> bool:
        self.served += client.sock.recv(1) == b"x"
        return True


def test_what_was_sent_before_the_end_is_served(tmp_path: Path) -> None:
    """By all clients of all users; then they are dropped."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        listener.bind(str(tmp_path / "hub.sock"))
        listener.listen()
        intake = Counting()
        hub = Hub(listener, intake, Limits(), None)  # type: ignore[arg-type]  # a fake
        clients = [stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)) for _ in range(3)]
        for client in clients:
            client.connect(listener.getsockname())
        hub._accept(0)
        for client in clients:
            for _ in range(3):
                client.send(b"x")
        hub.finish()
        assert intake.served == 9
        assert [client.recv(1) for client in clients] == [b""] * 3
