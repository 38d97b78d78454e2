"""A fake intake of the broker. It serves only the connections that a test adds, and hangs up at once."""

from __future__ import annotations

import socket

import trio

from nsbrokerd.clients.client import Client
from nsbrokerd.clients.quotas import Quotas
from support.brokers.fake_porters import NOTHING


class FakeIntake:
    """Ends the hub that it serves, by its scope, when a client has sent something."""

    is_busy = False

    def __init__(self) -> None:
        self.scope = trio.CancelScope()

    def record_counted(self, *, at_end: bool = False) -> None: ...

    def serve_one(self, client: Client, _now: float, _quotas: Quotas) -> bool:
        if not client.sock.recv(1):
            return False
        self.scope.cancel()
        return True


class FakeCloser:
    """Closes each connection at once."""

    connections = 0
    held = 0

    def fileno(self) -> int:
        return NOTHING.fileno()

    def hang_up(self, _owner: object, connection: socket.SocketType, *, is_at_porter: bool = False) -> None:
        connection.close()

    def turn_away(self, _owner: object, connection: socket.SocketType, *, is_answered: bool) -> None:
        connection.close()

    def sweep(self) -> None: ...


def connect(listener: socket.socket) -> socket.socket:
    """Connect a client to a hub's listener."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client.connect(listener.getsockname())
    return client
