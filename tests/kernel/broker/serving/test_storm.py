"""Many clients ask for sockets in many namespaces, while some of these are deleted and made again."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from typing import NamedTuple

import pytest

import nsbroker
from nsbroker import SocketSpec
from support import namespaces
from support.brokers.process import EVERYTHING, BrokerProcess
from support.inside import cookie_inside, netns_cookie, owner
from support.users import GROUP, UIDS, Child, start_as_user
from support.waiting import Counters

NAMESPACES = 50
VOLATILE = 10
"""So many of them are deleted and made again, one after the other, as fast as it goes."""

CLIENTS = 8
BATCH_SIZES = (1, 1, 1, 2, 5, 20)
KINDS = ((socket.AF_INET, socket.SOCK_STREAM), (socket.AF_INET6, socket.SOCK_DGRAM))
LEAST_GENERATIONS = 3 * VOLATILE
UNLIMITED = "[quotas]\nrequests_per_second = 10000000\n"
LIMIT_S = 600


class Generation(NamedTuple):
    """One namespace, and when its name could be found."""

    name: str
    cookie: int
    begin: float
    end: float


class Sight(NamedTuple):
    """A socket that was handed out for a volatile name, and when it was asked for and had."""

    name: str
    cookie: int
    asked: float
    had: float


class Report(NamedTuple):
    """The observations of one client. `wrong` should be empty."""

    sockets: int
    missing: int
    sights: list[Sight]
    wrong: list[str]


def test_no_socket_is_ever_in_the_wrong_namespace(
    make_namespace: Callable[..., str],
    start_broker: Callable[..., BrokerProcess],
    long: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Under a storm, each socket is in the namespace that has its name at that time, and belongs to its client."""
    names = [make_namespace() for _ in range(NAMESPACES)]
    cookies = {name: cookie_inside(name) for name in names}
    volatile = names[::5][:VOLATILE]
    stable = {name: cookies[name] for name in names if name not in volatile}
    broker = start_broker(EVERYTHING, UNLIMITED)
    quota = (100_000 if long else 8_000) // CLIENTS
    progress = Counters(CLIENTS + 1)
    clients = [
        start_as_user(UIDS[i], GROUP, _client, str(broker.socket_path), i, quota, names, stable, progress)
        for i in range(CLIENTS)
    ]
    try:
        generations = _churn({name: cookies[name] for name in volatile}, clients, progress, quota)
    finally:
        progress[CLIENTS] = 1
        reports = [child.result(LIMIT_S) for child in clients]
    wrong = [text for report in reports for text in report.wrong]
    sights = [sight for report in reports for sight in report.sights]
    wrong += [f"{sight} is of no generation of its time" for sight in sights if not _is_right(sight, generations)]
    sockets = sum(report.sockets for report in reports)
    with capsys.disabled():
        missing = sum(report.missing for report in reports)
        print(
            f"\nstorm: {sockets} sockets by {CLIENTS} clients in {NAMESPACES} namespaces, {len(generations) - VOLATILE}"
            f" re-created meanwhile; {len(sights)} sockets in those, {missing} times there was none; {len(wrong)} wrong"
        )
    assert not wrong
    assert sockets >= CLIENTS * quota


def _churn(living: dict[str, int], clients: list[Child], progress: Counters, quota: int) -> list[Generation]:
    """Delete and make namespaces until every client has its quota, and signal when that was often enough."""
    begins = dict.fromkeys(living, 0.0)
    ended: list[Generation] = []
    deadline = time.monotonic() + LIMIT_S
    while len(ended) < LEAST_GENERATIONS or any(progress[i] < quota for i in range(len(clients))):
        assert time.monotonic() < deadline, "the clients do not get on"
        name = next(iter(living))
        cookie = living.pop(name)
        namespaces.delete(name)
        begin_of_next = time.monotonic()
        ended.append(Generation(name, cookie, begins[name], begin_of_next))
        namespaces.ip("netns", "add", name)
        begins[name], living[name] = begin_of_next, cookie_inside(name)
        if len(ended) >= LEAST_GENERATIONS:
            progress[len(clients)] = 1
    return ended + [Generation(name, cookie, begins[name], float("inf")) for name, cookie in living.items()]


def _is_right(sight: Sight, generations: list[Generation]) -> bool:
    return any(
        one.name == sight.name and one.cookie == sight.cookie and one.begin <= sight.had and one.end >= sight.asked
        for one in generations
    )


def _client(path: str, number: int, quota: int, names: list[str], stable: dict[str, int], progress: Counters) -> Report:
    report = Report(0, 0, [], [])
    try:
        with nsbroker.Client(path, timeout=60) as client:
            while report.sockets < quota or not progress[CLIENTS]:
                report = _ask(client, number, names, stable, report)
                progress[number] = report.sockets
        return report
    finally:
        progress[number] = max(quota, report.sockets)  # the others do not wait for a client that failed


def _ask(client: nsbroker.Client, number: int, names: list[str], stable: dict[str, int], report: Report) -> Report:
    chance = random.Random(number << 32 | report.sockets + report.missing)
    specs = [SocketSpec(name, *chance.choice(KINDS)) for name in chance.choices(names, k=chance.choice(BATCH_SIZES))]
    asked = time.monotonic()
    try:
        sockets = client.open(specs)
    except nsbroker.NamespaceNotFoundError as error:
        if error.index is None or specs[error.index].namespace in stable:
            report.wrong.append(f"{error.index} of {specs} was not found")
        return report._replace(missing=report.missing + 1)
    had = time.monotonic()
    for spec, sock in zip(specs, sockets, strict=True):
        _judge(report, spec, sock, UIDS[number], stable, asked, had)
        sock.close()
    return report._replace(sockets=report.sockets + len(sockets))


def _judge(
    report: Report, spec: SocketSpec, sock: socket.socket, uid: int, stable: dict[str, int], asked: float, had: float
) -> None:
    name, cookie = str(spec.namespace), netns_cookie(sock)
    if name not in stable:
        report.sights.append(Sight(name, cookie, asked, had))
    elif cookie != stable[name]:
        report.wrong.append(f"{name} has cookie {stable[name]}, its socket {cookie}")
    if owner(sock) != uid or (sock.family, sock.type) != (spec.family, spec.type):
        report.wrong.append(f"{sock} of uid {owner(sock)} came for {spec} of uid {uid}")
