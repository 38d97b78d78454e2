"""Whether a socket is gone right after its close(): each measure counts the tries in which it was not.

Natively, each measure is 0. With a copy of the socket left in another process, most tries fail.
"""

from __future__ import annotations

import errno
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nsbroker import Client, SocketSpec

ANY = ("127.0.0.1", 0)
TCP = (int(socket.AF_INET), int(socket.SOCK_STREAM))
UDP = (int(socket.AF_INET), int(socket.SOCK_DGRAM))

Open = Callable[[SocketSpec], socket.socket]
"""Opens one socket."""


def connects_to_a_closed_listener(namespace: str, open_one: Open) -> bool:
    """Return whether a listener still accepts after its close()."""
    with open_one(SocketSpec(namespace, *TCP)) as dialing:
        listener = open_one(SocketSpec(namespace, *TCP, bind=ANY, listen=5))
        address = listener.getsockname()
        listener.close()
        return dialing.connect_ex(address) != errno.ECONNREFUSED


def udp_port_is_still_taken(namespace: str, open_one: Open) -> bool:
    """Return whether a UDP port can't be bound after the close() of its socket."""
    with open_one(SocketSpec(namespace, *UDP)) as second:
        first = open_one(SocketSpec(namespace, *UDP, bind=ANY))
        return _is_still_taken(first, second)


def tcp_port_is_still_taken(namespace: str, open_one: Open) -> bool:
    """Return whether a TCP port can't be bound and listened on after the close() of its listener."""
    with open_one(SocketSpec(namespace, *TCP)) as second:
        first = open_one(SocketSpec(namespace, *TCP, bind=ANY, listen=5))
        return _is_still_taken(first, second)


def _is_still_taken(first: socket.socket, second: socket.socket) -> bool:
    address = first.getsockname()
    first.close()
    try:
        second.bind(address)
        if second.type == socket.SOCK_STREAM:
            second.listen()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return True
    return False


MEASURES: dict[str, Callable[[str, Open], bool]] = {
    "connect to a listener just closed": connects_to_a_closed_listener,
    "UDP bind to a port just closed": udp_port_is_still_taken,
    "TCP bind and listen on a port just closed": tcp_port_is_still_taken,
}


def count_late(path: str, namespace: str, measure: str, tries: int, at_once: int = 1, wait_s: float = 0) -> int:
    """Return in how many tries the socket was not gone. The sockets come from the broker at `path`.

    Args:
        path: the broker's socket.
        namespace: where.
        measure: a key of MEASURES.
        tries: how many.
        at_once: the number of sockets in each request. Only the first of them is looked at.
        wait_s: the seconds that each request would wait for its namespace.
    """
    with Client(path) as client:

        def open_one(spec: SocketSpec) -> socket.socket:
            first, *rest = client.open([spec] * at_once, wait_s)
            for sock in rest:
                sock.close()
            return first

        return sum(MEASURES[measure](namespace, open_one) for _ in range(tries))


@contextmanager
def busy(loops: int) -> Iterator[None]:
    """Keep so many processors busy meanwhile."""
    spinning = [subprocess.Popen([sys.executable, "-I", "-c", "while True: pass"]) for _ in range(loops)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()
