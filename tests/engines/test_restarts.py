"""Containers that start again and again beside requests: each socket is of the container as it runs at that moment."""

from __future__ import annotations

import socket
import threading
import time
from typing import NamedTuple

from nsbroker.wire import ErrorReply, OpenReply
from support.brokers.process import BrokerProcess
from support.brokers.raw_client import RawClient, connect_as, tcp
from support.engines.broker import Engine, true_namespace
from support.inside import netns_cookie
from support.users import USER

ASKING = 2
RESTARTS, LONG_RESTARTS = 10, 1000
LONG_REQUESTS = 10_000


class Life(NamedTuple):
    """A namespace that the name meant: not before `begins`, and not after `ends`."""

    cookie: int
    begins: float
    ends: float = float("inf")


class Got(NamedTuple):
    """The namespace of a socket, or the code of a refusal, and the times before and after the request."""

    namespace: int | str
    before: float
    after: float


class Asking(threading.Thread):
    """Asks for sockets until it is told to stop."""

    def __init__(self, client: RawClient, name: str) -> None:
        super().__init__()
        self.got: list[Got] = []
        self._client = client
        self._name = name
        self._is_over = threading.Event()

    def run(self) -> None:
        while not self._is_over.is_set():
            before = time.monotonic()
            reply = self._client.ask(tcp(self._name))
            after = time.monotonic()
            self.got.append(Got(self._what(reply), before, after))

    def _what(self, reply: object) -> int | str:
        if isinstance(reply, ErrorReply):
            return reply.code
        assert isinstance(reply, OpenReply), reply
        with socket.socket(fileno=self._client.fds.pop()) as sock:
            return netns_cookie(sock)

    def stop(self) -> None:
        self._is_over.set()
        self.join()
        self._client.close()


def test_each_socket_is_of_the_container_at_some_moment_of_its_request(
    engine: Engine, broker: BrokerProcess, long: bool
) -> None:
    """After a restart was reported, none is of the predecessor. While it restarts, the broker refuses."""
    engine.start("web")
    lives = [Life(true_namespace(engine, "web"), time.monotonic())]
    asking = [Asking(connect_as(USER, broker), f"{engine.engine}:web") for _ in range(ASKING)]
    for one in asking:
        one.start()
    try:
        restarts = 0
        while restarts < (LONG_RESTARTS if long else RESTARTS):
            begins = time.monotonic()
            engine("restart", "--time=0", "web")
            lives[-1] = lives[-1]._replace(ends=time.monotonic())
            lives.append(Life(true_namespace(engine, "web"), begins))
            restarts += 1
    finally:
        for one in asking:
            one.stop()
    got = [each for one in asking for each in one.got]
    sockets = [each for each in got if isinstance(each.namespace, int)]
    wrong = [each for each in sockets if not any(_fits(each, life) for life in lives)]
    codes = {each.namespace for each in got if isinstance(each.namespace, str)}
    print(f"{engine.engine}: {restarts} restarts, {len(got)} requests, {len(sockets)} sockets, {len(wrong)} wrong")
    assert wrong == []
    assert codes <= {"no-such-namespace", "overloaded"}
    assert len({each.namespace for each in sockets}) > 1
    assert not long or len(got) >= LONG_REQUESTS


def _fits(got: Got, life: Life) -> bool:
    return got.namespace == life.cookie and got.after >= life.begins and got.before <= life.ends
