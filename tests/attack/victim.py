"""The victim: another user that asks for one TCP socket at a time, on an open connection and by new connections."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import NamedTuple, Self

from nsbroker import SocketSpec
from nsbroker.wire import OpenReply, OpenRequest, encode_request
from nsbrokerd.clients.arrivals import PER_SECOND
from support.brokers.raw_client import RawClient, tcp
from support.inside import path_of
from support.users import GROUP, start_as_user
from support.waiting import LIMIT_S, Counters, wait_until

_PAUSE_S = 0.01
"""After a failure, so that the victim does not become an attacker."""

_BETWEEN_CONNECTIONS_S = 1.25 / PER_SECOND
"""From one new connection to the next, at least. So the victim stays within its own quota, whatever its broker does."""

_MOST_FAILURES = 1000


class Times(NamedTuple):
    """Seconds of each served request, and the number of requests that were refused or whose connection broke."""

    seconds: list[float]
    failures: list[str]


class Samples(NamedTuple):
    """The victim's experience. A new connection counts with its connect, its request and its close."""

    kept: Times
    new: Times


class Start:
    """The victim connects first, and asks once. Then it waits until it may begin."""

    def __init__(self) -> None:
        self._numbers = Counters(2)

    def wait_until_connected(self) -> None:
        wait_until(lambda: bool(self._numbers[0]))

    def begin(self) -> None:
        self._numbers[1] = 1

    def is_connected(self) -> None:
        """Record that the victim is connected, and wait for the begin."""
        self._numbers[0] = 1
        wait_until(lambda: bool(self._numbers[1]), 2 * LIMIT_S)


class Victim:
    """The victim's process. Use it as a context, which ends it."""

    def __init__(self, uid: int, ask: Callable[..., Samples], *args: object) -> None:
        self._start = Start()
        self._child = start_as_user(uid, GROUP, ask, *args, self._start)
        self._start.wait_until_connected()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is not None:
            with suppress(OSError):  # it has ended already
                self._child.kill()

    def ask(self, limit_s: float) -> Samples:
        """Let it ask until it has enough, and return its experience."""
        self._start.begin()
        samples: Samples = self._child.result(limit_s)
        return samples


def ask_for(path: str, namespace: str, seconds: float, start: Start) -> Samples:
    """Ask for half of the time on a connection that was there before, then by new connections."""
    return _ask(path, namespace, lambda _: False, lambda: time.monotonic() + seconds / 2, start)


def ask_until_served(path: str, namespace: str, count: int, limit_s: float, start: Start) -> Samples:
    """Ask until so many requests of each kind have been served, or until the time is over."""

    def enough(times: Times) -> bool:
        return len(times.seconds) >= count

    return _ask(path, namespace, enough, lambda: time.monotonic() + limit_s / 2, start)


def _ask(
    path: str, namespace: str, enough: Callable[[Times], bool], next_end: Callable[[], float], start: Start
) -> Samples:
    ask = _asking(namespace)
    kept = _kept(path, ask)
    try:
        next(kept)
        _send_namespace(path, namespace)
    finally:
        start.is_connected()
    return Samples(_collect(kept, enough, next_end()), _collect(_new(path, ask), enough, next_end()))


def _send_namespace(path: str, namespace: str) -> None:
    """Send a descriptor of the namespace once. The broker opens its watch for mounts when it first gets one."""
    with RawClient(path) as client, open(path_of(namespace)) as file:
        client.ask(tcp(0), [file.fileno()])


def _asking(namespace: str) -> Callable[[RawClient], str]:
    packet = encode_request(OpenRequest(1, (SocketSpec(namespace, socket.AF_INET, socket.SOCK_STREAM),)))

    def ask(client: RawClient) -> str:
        """Ask once, and return an empty text, or the reason why there is no socket."""
        reply = client.ask(packet)
        client.close_fds()
        return "" if isinstance(reply, OpenReply) else repr(reply)

    return ask


Turn = tuple[float, str]
"""The seconds of a request, and why it failed, or an empty text."""


def _kept(path: str, ask: Callable[[RawClient], str]) -> Iterator[Turn]:
    """Ask again and again on one connection. Connecting anew does not count, but is a failure."""
    while True:
        try:
            with RawClient(path) as client:
                while True:
                    start = time.perf_counter()
                    failure = ask(client)
                    yield time.perf_counter() - start, failure
                    if failure:
                        break
        except OSError as error:
            yield 0, repr(error)


def _new(path: str, ask: Callable[[RawClient], str]) -> Iterator[Turn]:
    """Ask by one new connection after the other, with a pause in between if they come faster than a user may."""
    start = time.perf_counter()
    while True:
        time.sleep(max(0, start + _BETWEEN_CONNECTIONS_S - time.perf_counter()))
        start = time.perf_counter()
        try:
            with RawClient(path) as client:
                failure = ask(client)
        except OSError as error:
            failure = repr(error)
        yield time.perf_counter() - start, failure


def _collect(turns: Iterator[Turn], enough: Callable[[Times], bool], end: float) -> Times:
    times = Times([], [])
    for seconds, failure in turns:
        if failure:
            times.failures.append(failure)
            time.sleep(_PAUSE_S)
        else:
            times.seconds.append(seconds)
        if enough(times) or time.monotonic() >= end or len(times.failures) >= _MOST_FAILURES:
            break
    return times
