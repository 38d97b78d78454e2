"""Listeners for TCP and UDP in a namespace, which watch who comes."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterable

from support.sockets_inside import open_inside


class Listeners:
    """Listens on ports of all IPv4 addresses of a namespace, and hangs up on everyone at once.

    Args:
        namespace: the namespace's name.
        ports: the ports, each for TCP and for UDP.
    """

    def __init__(self, namespace: str, ports: Iterable[int]) -> None:
        self._seen: set[int] = set()
        self._sockets = {
            open_inside(namespace, kind, port): port
            for port in ports
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)
        }
        self._orders, self._control = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        for sock in (*self._sockets, self._orders):
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ)
        self._control.settimeout(60)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while True:
            self._selector.select()
            while ready := {key.fileobj for key, _ in self._selector.select(0)} - {self._orders}:
                for sock in ready & self._sockets.keys():
                    self._hang_up(sock)
            with contextlib.suppress(BlockingIOError):
                order = self._orders.recv(1)
                self._orders.send(order)
                if order == b"x":
                    return

    def _hang_up(self, sock: socket.socket) -> None:
        self._seen.add(self._sockets[sock])
        with contextlib.suppress(OSError):
            if sock.type == socket.SOCK_STREAM:
                sock.accept()[0].close()
            else:
                sock.recv(65536)

    def _order(self, letter: bytes) -> None:
        """Have the thread take in everything that has arrived, and wait for it."""
        self._control.send(letter)
        assert self._control.recv(1) == letter

    def take_seen(self) -> set[int]:
        """Return the ports at which a connection or a datagram arrived, and forget them."""
        self._order(b"s")
        seen, self._seen = self._seen, set()
        return seen

    def close(self) -> None:
        """Stop listening."""
        self._order(b"x")
        self._thread.join()
        self._selector.close()
        for sock in (*self._sockets, self._orders, self._control):
            sock.close()
