"""One user's connections that can't be closed at once do not keep others out."""

from __future__ import annotations

import resource
import socket
from pathlib import Path

import trio

from nsbrokerd.clients.client import Client
from nsbrokerd.clients.quotas import Quotas
from nsbrokerd.serving.hub import Hub
from support.brokers.fake_intake import FakeCloser, FakeIntake


class HangingCloser(FakeCloser):
    """Hundreds of connections hang."""

    connections = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4 - 1


class RecordingIntake(FakeIntake):
    """The first client that is served ends the test."""

    served = False

    def serve_one(self, client: Client, now: float, quotas: Quotas) -> bool:
        self.served = True
        return super().serve_one(client, now, quotas)


def test_client_is_accepted_while_hundreds_of_connections_hang(tmp_path: Path) -> None:
    path = str(tmp_path / "hub.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen()
        intake = RecordingIntake()
        hub = Hub(listener, intake, HangingCloser(), Quotas())  # type: ignore[arg-type]  # a fake
        clients = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)]
        for client in clients:
            client.connect(path)
        clients[1].send(b"x")

        async def serve() -> None:
            with intake.scope:
                with trio.fail_after(60):
                    await hub.run()

        trio.run(serve)
        hub.finish()
        for client in clients:
            client.close()
    assert intake.served
