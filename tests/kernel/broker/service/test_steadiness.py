"""After any number of requests, the broker has the same descriptors, namespace and rights as before."""

from __future__ import annotations

import errno
import os
import random
import socket
from collections.abc import Callable

import pytest

import nsbroker
from nsbroker import SocketSpec
from support.brokers.process import BrokerProcess
from support.inside import cookie_inside, netns_cookie, path_of
from support.process_state import connections_to, resident_kib, thread_count, thread_state, thread_states
from support.users import GROUP, USER, start_as_user
from support.waiting import wait_until

GRANTS = """
[[grant]]
name = "most"
users = ["*"]
namespaces = ["{prefix}*", "!{forbidden}"]
sockets = ["tcp", "udp", "icmp", "unix", "netlink:route"]
bind = ["127.0.0.1:1-1023"]
"""
NAMESPACES = 5
RESIDENT_GROWTH_KIB = 1024
"""The bound for 9,000 or 100,000 requests: less than one leaked object for each of them."""

LIMIT_S = 600

TCP = (socket.AF_INET, socket.SOCK_STREAM, 0)
UDP = (socket.AF_INET, socket.SOCK_DGRAM, 0)
NETLINK = (socket.AF_NETLINK, socket.SOCK_RAW, 0)


def test_requests_leave_nothing_behind(
    make_namespace: Callable[..., str],
    start_broker: Callable[..., BrokerProcess],
    long: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Descriptors, namespaces, ids, capabilities, threads and memory stay, while a third of the requests fail."""
    names = [make_namespace() for _ in range(NAMESPACES)]
    forbidden = make_namespace("forbidden")
    cookies = {name: cookie_inside(name) for name in names}
    grants = GRANTS.format(prefix=names[0][:-1], forbidden=forbidden)
    broker = start_broker(grants, "[quotas]\nrequests_per_second = 10000000\n")
    requests = 99_999 if long else 9_000
    (state,) = before = thread_states(broker.pid)
    assert state[:3] == thread_state()[:3]  # its capabilities are fewer

    # Objects of the first use are made now, and memory reaches its size.
    _run_load(broker, cookies, forbidden, 3_000)
    wait_until(lambda: connections_to(str(broker.socket_path)) == 0)
    descriptors, threads, resident = broker.descriptors(), len(before), resident_kib(broker.pid)
    failed = _run_load(broker, cookies, forbidden, requests)
    wait_until(lambda: broker.descriptors() == descriptors)
    growth = resident_kib(broker.pid) - resident
    with capsys.disabled():
        print(
            f"\nsteadiness: {requests} requests, {failed} refused; {descriptors} descriptors before and after;"
            f" resident memory {resident} KiB, {growth:+} KiB"
        )
    assert failed == requests // 3
    # On a busy machine a bind can be slow. The thread for it ends after a second.
    wait_until(lambda: thread_count(broker.pid) == threads)
    assert thread_states(broker.pid) == before
    assert growth < RESIDENT_GROWTH_KIB


def _run_load(broker: BrokerProcess, cookies: dict[str, int], forbidden: str, requests: int) -> int:
    child = start_as_user(USER, GROUP, _load, str(broker.socket_path), cookies, forbidden, requests)
    return int(child.result(LIMIT_S))


def _load(path: str, cookies: dict[str, int], forbidden: str, requests: int) -> int:
    """Make requests of which each third fails, and return the number of failures. Other errors are raised."""
    chance = random.Random(requests)
    names = list(cookies)
    fds = {name: os.open(path_of(name), os.O_RDONLY) for name in names}
    failed = 0
    with nsbroker.Client(path, timeout=60) as client:
        for number in range(requests):
            a, b = chance.choices(names, k=2)
            good = [SocketSpec(a, *TCP), SocketSpec(fds[b] if number % 5 == 0 else b, *UDP)]
            if number % 3 == 2:
                failed += _is_refused(client, good, *_bad(number // 3, a, forbidden))
                continue
            sockets = client.open([*good, SocketSpec(a, *NETLINK)] if number % 7 == 0 else good)
            assert [netns_cookie(sock) for sock in sockets[:2]] == [cookies[a], cookies[b]]
            for sock in sockets:
                sock.close()
    return failed


def _bad(number: int, name: str, forbidden: str) -> tuple[SocketSpec, int]:
    """A spec that fails, each time at another step of the way, and its errno."""
    choices = [
        (SocketSpec(f"{name}-missing", *TCP), errno.ENOENT),
        (SocketSpec(f"../{name}-missing", *TCP), errno.ENOENT),
        (SocketSpec(forbidden, *TCP), errno.EACCES),
        (SocketSpec("@host", *NETLINK), errno.EACCES),
        (SocketSpec(name, socket.AF_INET, socket.SOCK_RAW, 1), errno.EACCES),
        (SocketSpec(name, *TCP, bind=("0.0.0.0", 80)), errno.EACCES),
        (SocketSpec(name, *TCP, options=((socket.SOL_SOCKET, socket.SO_MARK, 1),)), errno.EACCES),
        (SocketSpec(name, *TCP, bind=("192.0.2.1", 8080)), errno.EADDRNOTAVAIL),
        (SocketSpec(name, *UDP, bind=("127.0.0.1", 53), listen=1), errno.EOPNOTSUPP),
    ]
    return choices[number % len(choices)]


def _is_refused(client: nsbroker.Client, good: list[SocketSpec], bad: SocketSpec, number: int) -> bool:
    try:
        client.open([*good, bad])
    except OSError as error:
        if (error.errno, getattr(error, "index", None)) == (number, len(good)):
            return True
        raise
    raise AssertionError(f"{bad} was granted")
