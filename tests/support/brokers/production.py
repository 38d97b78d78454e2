"""The case that the project is for: one process, one thread, 1,200 servers in 50 namespaces, each asked by a peer."""

from __future__ import annotations

import resource
import selectors
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import nsbroker
from nsbroker import SocketSpec
from support.inside import call_inside
from support.process_state import thread_count
from support.users import GROUP, USER, start_as_user
from support.waiting import Counters, wait_until

SERVERS = 1_200
NAMESPACES = 50
FIRST_PORT = 20_000
PEER_TIMEOUT_S = 60
BACKLOG = 16

TRIPLES = {
    "tcp": (socket.AF_INET6, socket.SOCK_STREAM, 0),
    "udp": (socket.AF_INET6, socket.SOCK_DGRAM, 0),
    "sctp": (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_SCTP),
}


class Outcome(NamedTuple):
    """The number of servers that gave a peer in their namespace the right answer, and the costs."""

    answered: int
    client_threads: int
    broker_threads: int


def kernel_has(kind: str) -> bool:
    try:
        socket.socket(*TRIPLES[kind]).close()
    except OSError:
        return False
    return True


def serve_and_ask(
    path: Path, broker_pid: int, groups: Sequence[int], names: Sequence[str], kinds: Sequence[str]
) -> Outcome:
    """Have an unprivileged process hold the servers and answer for all, while a peer inside each namespace asks."""
    ports = {kind: range(FIRST_PORT, FIRST_PORT + SERVERS // len(names) // len(kinds)) for kind in kinds}
    phase = Counters(3)
    client = start_as_user(USER, GROUP, _serve, str(path), list(names), ports, phase, groups=groups)
    try:
        wait_until(lambda: phase[0] == 1 or phase[2] == 1)
        answered, threads = 0, 0
        for name in names:
            answered += int(call_inside(name, _ask_all, name, ports))
            threads = max(threads, thread_count(client.pid))
    finally:
        phase[1] = 1
    client.result()
    return Outcome(answered, threads, thread_count(broker_pid))


def _serve(path: str, names: Sequence[str], ports: dict[str, range], phase: Counters) -> None:
    try:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        wanted = [(name, kind, port) for name in names for kind in ports for port in ports[kind]]
        specs = [
            SocketSpec(
                name,
                *map(int, TRIPLES[kind]),
                bind=("::1", port, 0, 0),
                listen=None if kind == "udp" else BACKLOG,
            )
            for name, kind, port in wanted
        ]
        with nsbroker.Client(path) as client, selectors.DefaultSelector() as selector:
            for sock, which in zip(client.open(specs), wanted, strict=True):
                sock.setblocking(False)
                selector.register(sock, selectors.EVENT_READ, which)
            phase[0] = 1
            while not phase[1]:
                for key, _ in selector.select(0.1):
                    _answer(key.fileobj, *key.data)
    finally:
        phase[2] = 1


def _answer(sock: socket.socket, name: str, kind: str, port: int) -> None:
    if kind == "udp":
        _, peer = sock.recvfrom(64)
        sock.sendto(_identity(name, kind, port), peer)
    else:
        connection, _ = sock.accept()
        with connection:
            connection.sendall(_identity(name, kind, port))


def _ask_all(name: str, ports: dict[str, range]) -> int:
    """Ask each server from inside the namespace, and return the number of right answers."""
    answered = 0
    for kind in ports:
        for port in ports[kind]:
            with socket.socket(*TRIPLES[kind]) as sock:
                sock.settimeout(PEER_TIMEOUT_S)
                sock.connect(("::1", port))
                if kind == "udp":
                    sock.send(b"who?")
                answered += sock.recv(256) == _identity(name, kind, port)
    return answered


def _identity(name: str, kind: str, port: int) -> bytes:
    return f"{name} {kind} {port}".encode()
