"""A fake intake of the broker. It serves only the connections that a test adds, and hangs up at once."""

from __future__ import annotations

import socket

import trio

from nsbrokerd.clients.client import Client
from nsbrokerd.config import Limits


class FakeIntake:
    """Ends the hub that it serves, by its scope, when a client has sent something."""

    is_busy = False
    hanging = 0

    def __init__(self) -> None:
        self.scope = trio.CancelScope()

    def serve_one(self, client: Client, _now: float, _limits: Limits) -> bool:
        client.sock.recv(1)
        self.scope.cancel()
        return True

    def wait_in(self, _nursery: trio.Nursery | None) -> None: ...

    def hang_up(self, _uid: int, connection: socket.SocketType) -> None:
        connection.close()

    def interrupt(self) -> None: ...
