"""A fake intake of the broker. It serves only the connections that a test adds, and hangs up at once."""

from __future__ import annotations

import socket

import trio

from nsbrokerd.clients.client import Client
from nsbrokerd.clients.quotas import Quotas


class FakeIntake:
    """Ends the hub that it serves, by its scope, when a client has sent something."""

    is_busy = False

    def __init__(self) -> None:
        self.scope = trio.CancelScope()

    def record_counted(self) -> None: ...

    def serve_one(self, client: Client, _now: float, _quotas: Quotas) -> bool:
        if not client.sock.recv(1):
            return False
        self.scope.cancel()
        return True


class FakeCloser:
    """Closes each connection at once."""

    connections = 0

    def hang_up(self, _uid: int, connection: socket.SocketType) -> None:
        connection.close()

    def interrupt(self) -> None: ...


def connect(listener: socket.socket) -> socket.socket:
    """Connect a client to a hub's listener."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client.connect(listener.getsockname())
    return client
