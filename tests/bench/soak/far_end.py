"""The far end of the limited user's cable: servers that it may reach, and servers that it must never reach."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from support.far_side import ALLOWED_4, ALLOWED_6, FORBIDDEN_4, FORBIDDEN_6, FarSide, far_side
from support.inside import cookie_inside, enter, path_of
from support.users import start_as_user
from support.waiting import Counters, wait_until

from .policy import OTHER_PORT, PORT

_FAMILIES = ((socket.AF_INET, ALLOWED_4, FORBIDDEN_4), (socket.AF_INET6, ALLOWED_6, FORBIDDEN_6))
_READY, _ALLOWED, _FORBIDDEN = range(3)


class FarEnd:
    """The cable, and the servers at its end.

    Attributes:
        near: the cookie of the limited user's namespace.
        answer: the text that an allowed server sends.
    """

    def __init__(self, wire: FarSide) -> None:
        self._wire = wire
        self.near = cookie_inside(wire.near)
        self.answer = f"far end {cookie_inside(wire.far)}".encode()
        self._numbers = Counters(3)

    def wrong(self) -> list[str]:
        """Return what has arrived and must not have, since the last call."""
        seen = set(self._wire.destinations()) & {FORBIDDEN_4, FORBIDDEN_6}
        found = [f"a packet of a limited socket arrived at {address}" for address in sorted(seen)]
        if self._numbers[_FORBIDDEN]:
            found.append(f"{self._numbers[_FORBIDDEN]} connections of limited sockets arrived where none may")
        return found

    def serve(self) -> None:
        """Serve in the far namespace, in a process of its own, until it is killed."""
        enter(path_of(self._wire.far))
        with selectors.DefaultSelector() as selector:
            for family, allowed, forbidden in _FAMILIES:
                listeners = (
                    (allowed, PORT, _ALLOWED),
                    (allowed, OTHER_PORT, _FORBIDDEN),
                    (forbidden, PORT, _FORBIDDEN),
                )
                for host, port, which in listeners:
                    listener = socket.create_server((host, port), family=family, backlog=64)
                    selector.register(listener, selectors.EVENT_READ, which)
            self._numbers[_READY] = 1
            while True:
                for key, _ in selector.select():
                    connection, _ = key.fileobj.accept()  # type: ignore[union-attr]  # they are all sockets
                    with connection:
                        connection.sendall(self.answer)
                    self._numbers[key.data] += 1

    def wait_until_ready(self) -> None:
        wait_until(lambda: bool(self._numbers[_READY]))


@contextmanager
def far_end() -> Iterator[FarEnd]:
    """Lay the cable, and run the servers."""
    with far_side() as wire:
        end = FarEnd(wire)
        server = start_as_user(0, 0, end.serve)
        try:
            end.wait_until_ready()
            yield end
        finally:
            server.kill()
