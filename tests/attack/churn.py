"""Sockets in namespaces that are deleted and made again under load, beside attackers.

Clients ask for single sockets and for batches. The namespace of each socket is compared with those that had its name
between the request and the reply. The kernel never uses the cookie of a namespace again.
"""

from __future__ import annotations

import errno
import random
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import NamedTuple

import nsbroker
from nsbroker import SocketSpec
from support import namespaces
from support.inside import cookie_inside, netns_cookie, owner
from support.users import GROUP, UIDS, Child, start_as_user
from support.waiting import Counters

from .arena import Arena
from .attack import Attack
from .trial import attacking

CLIENTS = 4
CLIENT_UIDS = UIDS[20 : 20 + CLIENTS]
STABLE, VOLATILE = 8, 8
BATCH_SIZES = (1, 1, 1, 2, 5, 20, 100, 253)
IN_A_ROW = 40
"""With a stock, single sockets of one name come one after the other, so many on average."""
KINDS = ((socket.AF_INET, socket.SOCK_STREAM), (socket.AF_INET6, socket.SOCK_DGRAM))
LEAST_GENERATIONS = 3 * VOLATILE
TIMEOUT_S = 120
CLIENT_S = 600
"""After the churn, a client has this time for its last request."""


class Generation(NamedTuple):
    """One namespace, and when its name could be found."""

    cookie: int
    begin: float
    end: float


class Sight(NamedTuple):
    """When sockets of one name and one cookie were asked for at the latest, and when they were there at the earliest.

    A socket is right if its namespace had its name between the two. So of many sockets, these two are enough.
    """

    asked: float
    had: float


Sights = dict[tuple[str, int], Sight]


class Report(NamedTuple):
    """The observations of one client, or of all. `missing` counts requests for a name that did not exist just then."""

    sockets: int
    missing: int
    refused: int
    sights: Sights
    wrong: list[str]


class Result(NamedTuple):
    """All observations, and the number of namespaces that were made meanwhile."""

    report: Report
    generations: int


def churn(place: Arena, attacks: Sequence[Attack], sockets: int, limit_s: float, stock: int = 0) -> Result:
    """Have clients open so many sockets beside these attacks. `Report.wrong` should be empty.

    With a `stock`, each client keeps up to so many sockets ready, and opens only single ones.

    Raises:
        AssertionError: the clients did not get on in time.
    """
    with ExitStack() as stack:
        stable = stack.enter_context(_made(place, "stable", STABLE))
        volatile = stack.enter_context(_made(place, "volatile", VOLATILE))
        cookies = {name: cookie_inside(name) for name in stable}
        living = {name: Generation(cookie_inside(name), 0, float("inf")) for name in volatile}
        for attack in attacks:
            stack.enter_context(attacking(attack, place, limit_s))
        names = [*stable, *volatile]
        quota, progress = -(-sockets // CLIENTS), Counters(CLIENTS + 1)
        clients = [
            start_as_user(uid, GROUP, _client, place.target.path, number, uid, quota, names, cookies, progress, stock)
            for number, uid in enumerate(CLIENT_UIDS)
        ]
        try:
            known = _make_again(living, progress, quota, time.monotonic() + limit_s)
            reports = [client.result(CLIENT_S) for client in clients]
        except BaseException:
            _kill(clients)
            raise
    wrong = [text for report in reports for text in report.wrong]
    wrong += [text for report in reports for text in _impossible(report.sights, known)]
    sockets, missing, refused = (sum(report[index] for report in reports) for index in range(3))
    return Result(Report(sockets, missing, refused, {}, wrong), sum(map(len, known.values())) - VOLATILE)


@contextmanager
def _made(place: Arena, label: str, count: int) -> Iterator[list[str]]:
    made: list[str] = []
    try:
        for number in range(count):
            made.append(f"{place.target.namespace}{label}{number}")
            namespaces.make(made[-1])
        yield made
    finally:
        for name in made:
            if namespaces.exists(name):
                namespaces.delete(name)


def _make_again(
    living: dict[str, Generation], progress: Counters, quota: int, deadline: float
) -> Mapping[str, list[Generation]]:
    """Delete namespaces and make them again until all clients have their quota, and return all that ever lived."""
    known: dict[str, list[Generation]] = {name: [] for name in living}
    count = 0
    while count < LEAST_GENERATIONS or any(progress[number] < quota for number in range(CLIENTS)):
        assert time.monotonic() < deadline, "the clients do not get on"
        name = next(iter(living))
        generation = living.pop(name)
        namespaces.delete(name)
        now = time.monotonic()
        known[name].append(generation._replace(end=now))
        namespaces.ip("netns", "add", name)
        living[name] = Generation(cookie_inside(name), now, float("inf"))
        count += 1
        if count >= LEAST_GENERATIONS:
            progress[CLIENTS] = 1
    for name, generation in living.items():
        known[name].append(generation)
    return known


def _impossible(sights: Sights, known: Mapping[str, Sequence[Generation]]) -> Iterator[str]:
    generations = {(name, one.cookie): one for name, ones in known.items() for one in ones}
    for (name, cookie), sight in sights.items():
        one = generations.get((name, cookie))
        if one is None or not (one.begin <= sight.had and sight.asked <= one.end):
            yield f"a socket of {name} was in the namespace {cookie}, which did not have this name then"


def _kill(clients: Sequence[Child]) -> None:
    for client in clients:
        with suppress(OSError):  # it has ended already
            client.kill()


def _client(
    path: str,
    number: int,
    uid: int,
    quota: int,
    names: Sequence[str],
    stable: Mapping[str, int],
    progress: Counters,
    stock: int,
) -> Report:
    asking = _Asking(uid, names, stable, random.Random(number), has_stock=stock > 0)
    try:
        with nsbroker.Client(path, timeout=TIMEOUT_S, stock=stock) as client:
            while asking.sockets < quota or not progress[CLIENTS]:
                asking.ask(client)
                progress[number] = asking.sockets
    finally:
        progress[number] = max(quota, asking.sockets)  # the others do not wait for a client that failed
    return Report(asking.sockets, asking.missing, asking.refused, asking.sights, asking.wrong)


class _Asking:
    """One client: it asks at random, and judges each socket."""

    def __init__(
        self, uid: int, names: Sequence[str], stable: Mapping[str, int], chance: random.Random, *, has_stock: bool
    ) -> None:
        self._uid, self._names, self._stable, self._chance = uid, names, stable, chance
        self.sockets = self.missing = self.refused = 0
        self.sights: Sights = {}
        self.wrong: list[str] = []
        self._has_stock = has_stock
        self._specs: list[SocketSpec] = []

    def _choose(self) -> list[SocketSpec]:
        if self._has_stock and self._specs and self._chance.random() > 1 / IN_A_ROW:
            return self._specs
        count = 1 if self._has_stock else self._chance.choice(BATCH_SIZES)
        names = self._chance.choices(self._names, k=count)
        self._specs = [SocketSpec(name, *self._chance.choice(KINDS)) for name in names]
        return self._specs

    def ask(self, client: nsbroker.Client) -> None:
        specs = self._choose()
        asked = time.monotonic()
        try:
            sockets = client.open(specs)
        except nsbroker.NamespaceNotFoundError as error:
            self.missing += 1
            if error.index is None or specs[error.index].namespace in self._stable:
                self.wrong.append(f"{error.index} of {specs} was not found")
            return
        except nsbroker.BrokerUnavailableError as error:
            if error.errno != errno.EAGAIN:
                raise
            self.refused += 1  # the broker is overloaded, and says so
            return
        had = time.monotonic()
        for spec, sock in zip(specs, sockets, strict=True):
            self._judge(spec, sock, asked, had)
            sock.close()
        self.sockets += len(sockets)

    def _judge(self, spec: SocketSpec, sock: socket.socket, asked: float, had: float) -> None:
        name, cookie = str(spec.namespace), netns_cookie(sock)
        if name not in self._stable:
            former = self.sights.get((name, cookie), Sight(asked, had))
            self.sights[name, cookie] = Sight(max(former.asked, asked), min(former.had, had))
        elif cookie != self._stable[name]:
            self.wrong.append(f"{name} has the cookie {self._stable[name]}, its socket {cookie}")
        if owner(sock) != self._uid or (sock.family, sock.type) != (spec.family, spec.type):
            self.wrong.append(f"{sock} of uid {owner(sock)} came for {spec} of uid {self._uid}")
