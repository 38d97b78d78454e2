"""Listeners by the thousand in many namespaces: one unprivileged process, one thread."""

from __future__ import annotations

import resource
import selectors
import socket
import time
from collections.abc import Callable
from typing import NamedTuple

import pytest

import nsbroker
from support.brokers.forking import listen_by_fork, listen_by_ip_netns_exec
from support.brokers.process import BrokerProcess
from support.inside import call_inside, cookie_inside, netns_cookie, owner
from support.process_state import thread_count
from support.users import GROUP, USER, start_as_user
from support.waiting import wait_until

NAMESPACES = 50
PORTS = range(1000, 1024)
"""Privileged ones, 24 in each namespace."""

SAMPLE = 60
"""The other ways make so many listeners. Their time for all is estimated from this sample."""


class Opened(NamedTuple):
    """The client's view of its batch: for each namespace the cookies, ports and owners of its sockets."""

    seconds: float
    threads: int
    seen: list[tuple[int, int, int]]


def test_one_thread_listens_1200_times_in_50_namespaces(
    make_namespace: Callable[..., str], broker: BrokerProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    """A process without rights gets 1,200 listeners by one call, and serves them all from its only thread."""
    names = [make_namespace() for _ in range(NAMESPACES)]
    cookies = {name: cookie_inside(name) for name in names}
    wanted = [(name, port) for name in names for port in PORTS]
    ours, theirs = socket.socketpair()
    with ours:
        child = start_as_user(USER, GROUP, _serve, str(broker.socket_path), wanted, theirs)
        try:
            theirs.close()
            assert ours.recv(1) == b"r", "the listeners could not be opened"
            answers = {name: call_inside(name, _ask_all) for name in names}
        finally:
            ours.shutdown(socket.SHUT_RDWR)  # the client serves until this closes
            opened = child.result()
    assert opened.seen == [(cookies[name], port, USER) for name, port in wanted]
    assert answers == {name: [f"{name} {port}" for port in PORTS] for name in names}
    assert opened.threads == 1
    # On a busy machine a bind can be slow. The thread for it ends after a second.
    wait_until(lambda: thread_count(broker.pid) == 1)
    _compare(opened.seconds, wanted, capsys)


def _serve(path: str, wanted: list[tuple[str, int]], until: socket.socket) -> Opened:
    """Open the listeners, report it, and answer each connection by name until the other end hangs up."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with nsbroker.Client(path) as client:
        begin = time.perf_counter()
        listeners = nsbroker.create_servers([(name, ("0.0.0.0", port)) for name, port in wanted], client=client)
        seconds = time.perf_counter() - begin
    seen = [(netns_cookie(sock), int(sock.getsockname()[1]), owner(sock)) for sock in listeners]
    selector = selectors.DefaultSelector()
    selector.register(until, selectors.EVENT_READ)
    for (name, port), sock in zip(wanted, listeners, strict=True):
        selector.register(sock, selectors.EVENT_READ, f"{name} {port}".encode())
    until.send(b"r")
    while ready := selector.select():
        for key, _ in ready:
            if key.fileobj is until:
                return Opened(seconds, thread_count("self"), seen)
            assert isinstance(key.fileobj, socket.socket)
            connection, _ = key.fileobj.accept()
            with connection:
                connection.sendall(key.data)
    raise AssertionError("the selector has nothing to wait for")


def _ask_all() -> list[str]:
    """Connect to each port of this namespace, and return the answers."""
    answers = []
    for port in PORTS:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
            answers.append(sock.makefile().read())
    return answers


def _compare(seconds: float, wanted: list[tuple[str, int]], capsys: pytest.CaptureFixture[str]) -> None:
    """Print the time of the batch beside the estimated time of forking."""
    sample = wanted[:: len(wanted) // SAMPLE]
    lines = [f"{len(wanted)} listeners in {NAMESPACES} namespaces: {1000 * seconds:.0f} ms by the broker, as nobody"]
    for way, listen in (("ip netns exec", listen_by_ip_netns_exec), ("fork and setns", listen_by_fork)):
        begin = time.perf_counter()
        sockets = [listen(name, port) for name, port in sample]
        one_s = (time.perf_counter() - begin) / len(sample)
        for sock in sockets:
            sock.close()
        lines.append(
            f"{1000 * one_s * len(wanted):.0f} ms by {way}, as root"
            f" ({one_s * len(wanted) / seconds:.0f} times; estimated by {len(sample)} of them)"
        )
    with capsys.disabled():
        print("\nbatch: " + "; ".join(lines))
