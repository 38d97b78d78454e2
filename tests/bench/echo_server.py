"""Sockets of many namespaces, served by one event loop in one thread, which sends all data back.

    python echo_server.py BROKER < PLACES

The first line of its input has the places, in JSON. The first line of its output has the seconds for opening them.
It ends with its input.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import nsbroker
from nsbroker import SocketSpec

BACKLOG = 128
BUFFER_BYTES = 2048
V6ONLY = ((int(socket.IPPROTO_IPV6), int(socket.IPV6_V6ONLY), 1),)

Place = tuple[str, str, int]
"""Kind ("tcp", "udp", "sctp"), namespace and port of a socket at all IPv6 addresses."""

TRIPLES = {
    "tcp": (int(socket.SOCK_STREAM), 0),
    "udp": (int(socket.SOCK_DGRAM), 0),
    "sctp": (int(socket.SOCK_STREAM), int(socket.IPPROTO_SCTP)),
}


def spec_of(place: Place) -> SocketSpec:
    """Ask for a socket bound at this place, listening unless it is one for datagrams."""
    kind, namespace, port = place
    backlog = None if kind == "udp" else BACKLOG
    kind_number, protocol = TRIPLES[kind]
    kind_number |= socket.SOCK_NONBLOCK
    return SocketSpec(namespace, int(socket.AF_INET6), kind_number, protocol, ("::", port, 0, 0), backlog, V6ONLY)


class EchoServer:
    """All of the sockets, and the connections that they accepted, in one epoll."""

    def __init__(self, path: str, places: Sequence[Place]) -> None:
        """Ask the broker for the sockets. `seconds` is the time of this."""
        specs = [spec_of(place) for place in places]
        client = nsbroker.Client(path)
        start = time.perf_counter()
        self._sockets = client.open(specs)
        self.seconds = time.perf_counter() - start
        self._epoll = select.epoll()
        self._handlers: dict[int, tuple[Callable[[Any], None], Any]] = {}
        for (kind, *_), sock in zip(places, self._sockets, strict=True):
            self._add(self._answer_datagram if kind == "udp" else self._accept, sock)

    def serve_until(self, stop: int) -> None:
        """Serve until something can be read from this descriptor."""
        self._epoll.register(stop, select.EPOLLIN)
        while True:
            for fd, _ in self._epoll.poll():
                if fd == stop:
                    return
                handle, sock = self._handlers[fd]
                handle(sock)

    def _add(self, handle: Callable[[Any], None], sock: socket.socket) -> None:
        self._handlers[sock.fileno()] = handle, sock
        self._epoll.register(sock, select.EPOLLIN)

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.setblocking(False)
        self._add(self._answer, connection)

    def _answer(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(BUFFER_BYTES)
        except ConnectionError:
            data = b""
        if data:
            connection.send(data)
        else:
            del self._handlers[connection.fileno()]
            connection.close()

    def _answer_datagram(self, sock: socket.socket) -> None:
        data, peer = sock.recvfrom(BUFFER_BYTES)
        sock.sendto(data, peer)


if __name__ == "__main__":
    server = EchoServer(sys.argv[1], json.loads(sys.stdin.readline()))
    print(server.seconds, flush=True)
    server.serve_until(sys.stdin.fileno())
