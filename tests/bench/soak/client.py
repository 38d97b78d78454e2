"""A client of the soak: it makes granted and other requests at random, and judges the replies."""

from __future__ import annotations

import errno
import random
import socket
import threading
import time
from collections.abc import Mapping, Sequence

import nsbroker
from nsbroker import SocketSpec
from support.brokers.raw_client import RawClient

from .judge import KINDS, Judge
from .policy import FORBIDDEN, POLICIES, TURNED
from .told import Tally, Told, live, policy_of

BATCH_SIZES = (1, 1, 1, 1, 2, 7, 40, 300)
TIMEOUT_S = 60
PAUSE_S = 0.2
"""With this pause, fifty clients leave the broker some time for the other users."""


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
    return [client.judge.tally for client in clients]


class _SoakClient:
    def __init__(
        self, path: str, uid: int, number: int, stable: Mapping[str, int], volatile: Sequence[str], told: Told
    ) -> None:
        self._path, self._number, self._stable, self._told = path, number, list(stable), told
        self._names = [*stable, *volatile]
        self._chance = random.Random(number)
        self._client = nsbroker.Client(path, timeout=TIMEOUT_S)
        self.judge = Judge(uid, number, stable, told)

    def run(self) -> None:
        live(self._told, self._number, self.judge.tally, self._act, self._rest, PAUSE_S)

    def _act(self) -> None:
        acts = (self._good, self._bad, self._turned, self._garbage)
        self._chance.choices(acts, weights=(75, 16, 6, 3))[0]()

    def _rest(self) -> None:
        self._client.close()
        self.judge.rest()

    def _good(self) -> None:
        count = self._chance.choice(BATCH_SIZES)
        specs = [SocketSpec(name, *self._chance.choice(KINDS)) for name in self._chance.choices(self._names, k=count)]
        asked = time.monotonic()
        try:
            sockets = self._client.open(specs)
        except nsbroker.NamespaceNotFoundError as error:
            self.judge.was_not_found(error, None if error.index is None else specs[error.index].namespace)
            return
        had = time.monotonic()
        for spec, sock in zip(specs, sockets, strict=True):
            self.judge.look_at(spec, sock, asked, had)
            sock.close()

    def _bad(self) -> None:
        """Ask for good sockets and a last one that is refused. No socket must come, and the refusal must name it."""
        name = self._chance.choice(self._stable)
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
            self.judge.tally.count("refused")
        else:
            self.judge.say_wrong(f"{bad} was granted")

    def _turned(self) -> None:
        """Ask for a namespace whose grant comes and goes with the policy."""
        before, is_granted = self._told.turn, True
        try:
            self._client.open([SocketSpec(TURNED, *KINDS[0])])[0].close()
        except nsbroker.AccessDeniedError:
            is_granted = False
        policy = policy_of(before, self._told.turn, len(POLICIES))
        if policy is None:
            self.judge.tally.count("decided during a reload")
        elif is_granted != POLICIES[policy].has_turned:
            self.judge.say_wrong(f"policy {policy} held, and {TURNED} was {'granted' if is_granted else 'refused'}")
        else:
            self.judge.tally.count("decided by the policy of that moment")

    def _garbage(self) -> None:
        """Send bytes that are no request. Whatever the broker does, no socket must come."""
        try:
            with RawClient(self._path) as raw:
                raw.send(self._chance.randbytes(self._chance.randrange(1, 200)))
                raw.receive()
                if raw.fds:
                    self.judge.say_wrong("garbage was answered with a socket")
        except OSError:
            pass  # it was killed meanwhile, and garbage is not sent again
        self.judge.tally.count("garbage")
