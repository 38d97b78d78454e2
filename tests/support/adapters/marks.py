"""The marks of the sockets that a broker made for this process."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from nsbroker.link.broker import Broker

_WITH_MARKS = (socket.AF_INET, socket.AF_INET6, socket.AF_PACKET)


@contextmanager
def sockets_of_the_broker() -> Iterator[list[tuple[socket.SocketKind, int]]]:
    """Yield a list that gets the type and the mark of each IP and packet socket as it arrives."""
    made: list[tuple[socket.SocketKind, int]] = []
    original = Broker.open

    async def open_and_look(self: Broker, *args: Any) -> list[Any]:
        sockets: list[Any] = await original(self, *args)
        for sock in sockets:
            if sock.family in _WITH_MARKS:
                made.append((sock.type, sock.getsockopt(socket.SOL_SOCKET, socket.SO_MARK)))
        return sockets

    with mock.patch.object(Broker, "open", open_and_look):
        yield made
