"""The broker is killed in the middle of a load, and started again by its service manager, again and again."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterator

import pytest

from nsbroker import Client, SocketSpec
from nsbroker.wire import OpenRequest
from support.brokers.activated import ActivatedBroker
from support.brokers.load import Load
from support.brokers.process import EVERYTHING
from support.brokers.raw_client import RawClient
from support.inside import cookie_inside, netns_cookie
from support.namespaces import PREFIX
from support.process_state import connections_to
from support.users import GROUP, USER, start_as_user
from support.waiting import wait_until

MOST_CALLS_BETWEEN = 60
WAIT_S = 60


@pytest.fixture
def activated() -> Iterator[ActivatedBroker]:
    broker = ActivatedBroker(EVERYTHING, "[quotas]\nrequests_per_second = 10000000\n")
    yield broker
    broker.close()


@pytest.mark.parametrize(("processes", "threads"), [(1, 1), (3, 3)], ids=["one thread", "threads and forked children"])
def test_clients_carry_on_over_kill_9(
    make_namespace: Callable[..., str],
    activated: ActivatedBroker,
    processes: int,
    threads: int,
    long: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No call fails, no request is answered twice, no socket is wrong, and no socket is left behind."""
    cookies = {name: cookie_inside(name) for name in [make_namespace() for _ in range(5)]}
    chance = random.Random(processes)
    kills = 60 if long else 6
    activated.start()
    with Load(activated, cookies, processes, threads) as load:
        for _ in range(kills):
            _wait_for_calls(load, chance.randint(1, MOST_CALLS_BETWEEN))
            activated.kill()
            activated.start()
        _wait_for_calls(load, MOST_CALLS_BETWEEN)
        calls = load.calls()
        arrived, lost = load.stop()
    with capsys.disabled():
        print(
            f"\nrestart: {kills} kills in {calls} calls by {processes * threads} threads in {processes} processes;"
            f" {arrived} sockets right, {lost} lost"
        )


def test_waiting_request_outlives_a_restart(make_namespace: Callable[..., str], activated: ActivatedBroker) -> None:
    """The broker that stops does not answer it. So its client asks the next broker, and gets its socket there."""
    late = f"{PREFIX}late"
    activated.start()
    child = start_as_user(USER, GROUP, _open_when_there, str(activated.socket_path), late)
    wait_until(lambda: connections_to(str(activated.socket_path)) == 1)
    with RawClient(activated) as client:
        client.send(OpenRequest(1, (SocketSpec(late, socket.AF_INET, socket.SOCK_STREAM),), WAIT_S))
        assert client.works()
        activated.stop()
        assert client.sock.recv(1000) == b""
    activated.start()
    make_namespace("late")
    assert child.result() == cookie_inside(late)


def _open_when_there(broker: str, namespace: str) -> int:
    with Client(broker, timeout=WAIT_S) as client:
        [sock] = client.open([SocketSpec(namespace, socket.AF_INET, socket.SOCK_STREAM)], wait=WAIT_S)
        return netns_cookie(sock)


def _wait_for_calls(load: Load, more: int) -> None:
    goal = load.calls() + more
    wait_until(lambda: load.calls() >= goal or load.failed())
