"""A load that sees every mistake: it asks for listeners at the same addresses again and again.

A request that was answered twice would leave a listener behind, and the next one would find its address in use.
"""

from __future__ import annotations

import contextlib
import random
import resource
import socket
import threading
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

import nsbroker
from nsbroker import SocketSpec
from support.brokers.process import BrokerProcess
from support.inside import call_inside, netns_cookie, owner, socket_cookie
from support.users import GROUP, USER, Child, start_as_user
from support.waiting import Counters

BATCH_SIZES = (1, 1, 1, 2, 7, 7, 300, 900)
"""300 make two requests, in flight at the same time. Of 900, some are answered before others are lost."""

PORT = 1000
TIMEOUT_S = 60


class Seen(NamedTuple):
    """The results of the workers: the sockets by their cookies, and all mistakes."""

    cookies: list[int]
    wrong: list[str]


class Outcome(NamedTuple):
    """How many sockets arrived, and how many were made and audited but died with their connection."""

    arrived: int
    lost: int


class Load:
    """Processes of one client that use the broker until they are told to stop: `processes` forked from the first."""

    def __init__(
        self,
        broker: BrokerProcess,
        cookies: Mapping[str, int],
        processes: int,
        threads: int,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._broker = broker
        self._timeout_s = timeout_s
        self._cookies = cookies
        self._threads = threads
        self._workers = processes * threads
        self._progress = Counters(self._workers + 1)
        self._child = start_as_user(USER, GROUP, self._run, processes, groups=broker.client_groups)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self._progress[self._workers] = 1
        if error is not None:
            with contextlib.suppress(Exception):
                self._child.result()

    def calls(self) -> int:
        """How many calls succeeded so far."""
        return self._progress.sum()

    def failed(self) -> bool:
        return self._progress[self._workers] != 0

    def stop(self) -> Outcome:
        """End it. Everything that it saw must be right, and in the audit."""
        self._progress[self._workers] = 1
        seen: Seen = self._child.result()
        assert seen.wrong == [], seen.wrong
        assert len(set(seen.cookies)) == len(seen.cookies)
        records = [record for record in self._broker.audit_with_parts() if record]
        audited = [sock["cookie"] for record in records for sock in record.get("sockets", ())]
        assert len(set(audited)) == len(audited)
        assert set(seen.cookies) <= set(audited)
        for name in self._cookies:
            assert call_inside(name, _listeners_here) == 0, f"a listener was left behind in {name}"
        return Outcome(len(seen.cookies), len(audited) - len(seen.cookies))

    def _run(self, processes: int) -> Seen:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        client = nsbroker.Client(str(self._broker.socket_path), timeout=self._timeout_s)
        client.open([SocketSpec(next(iter(self._cookies)), socket.AF_INET, socket.SOCK_STREAM)])[0].close()
        # The connection is open now, and idle: the children must not use it.
        children = [start_as_user(USER, GROUP, self._run_threads, client, i) for i in range(1, processes)]
        return _merge([self._run_threads(client, 0), *map(Child.result, children)])

    def _run_threads(self, client: nsbroker.Client, process: int) -> Seen:
        results: list[Seen] = []
        first = process * self._threads
        threads = [
            threading.Thread(target=lambda worker: results.append(self._work(client, worker)), args=(worker,))
            for worker in range(first, first + self._threads)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return _merge(results)

    def _work(self, client: nsbroker.Client, worker: int) -> Seen:
        seen = Seen([], [])
        chance = random.Random(worker)
        try:
            while not self._progress[self._workers]:
                specs = [
                    SocketSpec(name, socket.AF_INET, socket.SOCK_STREAM, 0, (f"127.1.{worker}.1", PORT + i), 1)
                    for i, name in enumerate(chance.choices(list(self._cookies), k=chance.choice(BATCH_SIZES)))
                ]
                for spec, sock in zip(specs, client.open(specs), strict=True):
                    self._judge(seen, spec, sock)
                    sock.close()
                self._progress[worker] += 1
        except Exception as error:
            seen.wrong.append(f"worker {worker}: {error!r}")
            self._progress[self._workers] = 1
        return seen

    def _judge(self, seen: Seen, spec: SocketSpec, sock: socket.socket) -> None:
        seen.cookies.append(socket_cookie(sock))
        listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        found = netns_cookie(sock), owner(sock), sock.getsockname(), listens
        if found != (self._cookies[str(spec.namespace)], USER, spec.bind, 1):
            seen.wrong.append(f"for {spec} came {found}")


def _merge(results: Sequence[Seen]) -> Seen:
    return Seen([one for seen in results for one in seen.cookies], [one for seen in results for one in seen.wrong])


def _listeners_here() -> int:
    with open("/proc/net/tcp") as file:
        return len(file.readlines()) - 1
