"""A client with a stock of sockets: most of its sockets come without a request, and each is judged all the same."""

from __future__ import annotations

import random
import threading
import time
import warnings
from collections.abc import Mapping, Sequence

import nsbroker
from nsbroker import SocketSpec

from .client import TIMEOUT_S
from .judge import KINDS, Judge
from .told import RUNS, Tally, Told, live

STOCK = 16
MOST_IN_A_ROW = 80
PAUSE_S = 0.1
BETWEEN_S = 0.002


def run_stocked(
    path: str, uid: int, first: int, threads: int, stable: Mapping[str, int], volatile: Sequence[str], told: Told
) -> list[Tally]:
    """Run clients in threads of this process until they are told to end."""
    # The library warns if there can be no stock. Then the soak would not have what it promises.
    warnings.simplefilter("error", RuntimeWarning)
    clients = [_StockClient(path, uid, first + i, stable, volatile, told) for i in range(threads)]
    running = [threading.Thread(target=client.run) for client in clients]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return [client.judge.tally for client in clients]


class _StockClient:
    def __init__(
        self, path: str, uid: int, number: int, stable: Mapping[str, int], volatile: Sequence[str], told: Told
    ) -> None:
        self._number, self._told = number, told
        self._chance = random.Random(number)
        self._client = nsbroker.Client(path, timeout=TIMEOUT_S)
        self._places = {
            name: nsbroker.Namespace(name, client=self._client, stock=STOCK) for name in [*stable, *volatile]
        }
        # Half of the sockets are in namespaces that come and go.
        self._names = (list(stable), list(volatile))
        self.judge = Judge(uid, number, stable, told)

    def run(self) -> None:
        live(self._told, self._number, self.judge.tally, self._act, self._rest, PAUSE_S)

    def _act(self) -> None:
        """Open single sockets of one namespace, one after the other."""
        spec = SocketSpec(self._chance.choice(self._chance.choice(self._names)), *self._chance.choice(KINDS))
        name = str(spec.namespace)
        for _ in range(self._chance.randrange(1, MOST_IN_A_ROW)):
            if self._told.order() != RUNS:
                return
            asked = time.monotonic()
            try:
                sock = self._places[name].socket(spec.family, spec.type)
            except nsbroker.NamespaceNotFoundError as error:
                self.judge.was_not_found(error, name)
                return
            with sock:
                self.judge.look_at(spec, sock, asked, time.monotonic())
            self.judge.tally.count("sockets of clients with a stock")
            time.sleep(BETWEEN_S)

    def _rest(self) -> None:
        self._client.close()
        self.judge.rest()
