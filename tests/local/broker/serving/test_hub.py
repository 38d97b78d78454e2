"""The hub serves clients by turns."""

from __future__ import annotations

import socket
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import trio

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
