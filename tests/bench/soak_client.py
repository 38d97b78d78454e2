"""A client of the soak: it makes granted and other requests at random, and judges the replies."""

from __future__ import annotations

import errno
import random
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import nsbroker
from nsbroker import SocketSpec
from sights import Sights
from support.brokers.raw_client import RawClient
from support.inside import netns_cookie, owner
from support.namespaces import PREFIX
from support.waiting import Counters

KINDS = (
    (socket.AF_INET, socket.SOCK_STREAM),
    (socket.AF_INET6, socket.SOCK_STREAM),
    (socket.AF_INET, socket.SOCK_DGRAM),
    (socket.AF_INET6, socket.SOCK_DGRAM),
)
BATCH_SIZES = (1, 1, 1, 1, 2, 7, 40, 300)
FORBIDDEN = f"{PREFIX}forbidden0"
TIMEOUT_S = 60
_LOOK_AGAIN_S = 0.01

RUNS, PAUSES, ENDS = 0, 1, 2
"""The orders for the clients."""


class Tally(NamedTuple):
    """The observations of the clients. `wrong` counts wrong sockets and refusals, and `lost` counts failed calls."""

    counts: dict[str, int]
    wrong: list[str]
    lost: list[str]


class Told(NamedTuple):
    """The numbers that the clients share with the soak: orders at 0, then for each client whether it has paused.

    In the directory each client has a file for the namespaces that it saw.
    """

    counters: Counters
    directory: Path

    def order(self) -> int:
        return self.counters[0]


def run_clients(
    path: str, uid: int, first: int, threads: int, stable: Mapping[str, int], volatile: Sequence[str], told: Told
) -> list[Tally]:
    """Run clients in threads of this process until they are told to end."""
    clients = [_SoakClient(path, uid, first + i, stable, volatile, told) for i in range(threads)]
    running = [threading.Thread(target=client.run) for client in clients]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return [client.tally for client in clients]


class _SoakClient:
    def __init__(
        self, path: str, uid: int, number: int, stable: Mapping[str, int], volatile: Sequence[str], told: Told
    ) -> None:
        self._path, self._uid, self._number, self._stable, self._told = path, uid, number, stable, told
        self._names = [*stable, *volatile]
        self._chance = random.Random(number)
        self._client = nsbroker.Client(path, timeout=TIMEOUT_S)
        self.tally = Tally({"sockets": 0, "requests": 0, "refused": 0, "missing": 0, "garbage": 0}, [], [])
        self._sights = Sights()

    def run(self) -> None:
        while (order := self._told.order()) != ENDS:
            if order == PAUSES:
                self._rest()
                self._told.counters[1 + self._number] = 1
                time.sleep(_LOOK_AGAIN_S)
                continue
            self._told.counters[1 + self._number] = 0
            try:
                self._chance.choices((self._good, self._bad, self._garbage), weights=(80, 17, 3))[0]()
                self.tally.counts["requests"] += 1
            except Exception as error:
                self.tally.lost.append(f"client {self._number}: {error!r}")
        self._rest()

    def _rest(self) -> None:
        """Drop everything that would grow."""
        self._client.close()
        self._sights.move_to(self._told.directory / str(self._number))

    def _good(self) -> None:
        count = self._chance.choice(BATCH_SIZES)
        specs = [SocketSpec(name, *self._chance.choice(KINDS)) for name in self._chance.choices(self._names, k=count)]
        asked = time.monotonic()
        try:
            sockets = self._client.open(specs)
        except nsbroker.NamespaceNotFoundError as error:
            self.tally.counts["missing"] += 1
            if error.index is None or specs[error.index].namespace in self._stable:
                self.tally.wrong.append(f"{error.index} of {specs} was not found")
            return
        had = time.monotonic()
        for spec, sock in zip(specs, sockets, strict=True):
            self._judge(spec, sock, asked, had)
            sock.close()
        self.tally.counts["sockets"] += count

    def _judge(self, spec: SocketSpec, sock: socket.socket, asked: float, had: float) -> None:
        name, cookie = str(spec.namespace), netns_cookie(sock)
        if name not in self._stable:
            self._sights.add(name, cookie, asked, had)
        elif cookie != self._stable[name]:
            self.tally.wrong.append(f"{name} has cookie {self._stable[name]}, its socket {cookie}")
        if owner(sock) != self._uid or (sock.family, sock.type) != (spec.family, spec.type):
            self.tally.wrong.append(f"{sock} of uid {owner(sock)} came for {spec} of uid {self._uid}")

    def _bad(self) -> None:
        """Ask for good sockets and a last one that is refused. No socket must come, and the refusal must name it."""
        name = self._chance.choice(list(self._stable))
        tcp, udp = KINDS[0], KINDS[2]
        bad, number = self._chance.choice(
            [
                (SocketSpec(f"{name}-missing", *tcp), errno.ENOENT),
                (SocketSpec("../x", *tcp), errno.ENOENT),
                (SocketSpec(FORBIDDEN, *tcp), errno.EACCES),
                (SocketSpec(name, socket.AF_INET, socket.SOCK_RAW, 1), errno.EACCES),
                (SocketSpec(name, *tcp, bind=("0.0.0.0", 81)), errno.EACCES),
                (SocketSpec(name, *tcp, options=((socket.SOL_SOCKET, socket.SO_MARK, 1),)), errno.EACCES),
                (SocketSpec(name, *tcp, bind=("192.0.2.1", 8080)), errno.EADDRNOTAVAIL),
                (SocketSpec(name, *udp, bind=("127.0.0.1", 0), listen=1), errno.EOPNOTSUPP),
            ]
        )
        good = [SocketSpec(name, *tcp)] * self._chance.randrange(3)
        try:
            self._client.open([*good, bad])
        except OSError as error:
            if (error.errno, getattr(error, "index", None)) != (number, len(good)):
                raise
            self.tally.counts["refused"] += 1
        else:
            self.tally.wrong.append(f"{bad} was granted")

    def _garbage(self) -> None:
        """Send bytes that are no request. Whatever the broker does, no socket must come."""
        try:
            with RawClient(self._path) as raw:
                raw.send(self._chance.randbytes(self._chance.randrange(1, 200)))
                raw.receive()
                if raw.fds:
                    self.tally.wrong.append("garbage was answered with a socket")
        except OSError:
            pass  # it was killed meanwhile, and garbage is not sent again
        self.tally.counts["garbage"] += 1
