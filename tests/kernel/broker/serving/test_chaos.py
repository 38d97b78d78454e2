"""Hostile clients send packets of every kind, with any descriptors, while the policy is loaded again and again."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pytest

from nsbroker import SocketSpec
from nsbroker.wire import ExplainRequest, NamespacesRequest, OpenRequest, ResolverRequest, encode_request
from support.brokers.limited import grant, listed
from support.brokers.process import BrokerProcess
from support.brokers.raw_client import TCP, UDP, RawClient, tcp
from support.checkout import TESTS
from support.inside import path_of
from support.process_state import connections_to, idle_descriptors, resident_kib, thread_count
from support.users import GROUP, UIDS, Child, start_as_user
from support.waiting import Counters, wait_until

CLIENTS = 4
WARM_UP = 4_000
LEAST_RELOADS = 10
RESIDENT_GROWTH_KIB = 1024
"""The bound for 8,000 or 200,000 packets. The memory of plans and decisions is full after the packets before."""

THREADS = 2
"""The main one, and the seal's."""

LIMIT_S = 1_800
BACKLOG = 20
"""The most packets of a connection that have no answer yet."""

VECTORS = TESTS / "vectors" / "requests.json"
LIMITED = grant("limited", connect=["127.0.0.1:5000"])
FREE = grant("free", sockets=["tcp", "udp", "unix", "packet", "netlink:route"])
OTHERS = grant("others", sockets=["udp"]).replace('users = ["*"]', "users = [0]")
POLICIES = (FREE, LIMITED, OTHERS, FREE + LIMITED, LIMITED.replace("5000", "5001"), "")
QUOTAS = "[quotas]\nrequests_per_second = 10000000\nclients_per_user = 64\n"


class Traffic(NamedTuple):
    """The choices of one client.

    Attributes:
        good: requests that follow the protocol.
        files: descriptors, some of them of network namespaces.
    """

    good: Sequence[bytes]
    files: Sequence[int]

    def packet(self, chance: random.Random) -> bytes:
        """Return a good packet, a good packet with a few other bytes, or random bytes."""
        packet = chance.choice(self.good)
        choice = chance.random()
        if choice < 0.5:
            return packet
        if choice < 0.9 and packet:
            at = chance.randrange(len(packet))
            return packet[:at] + chance.randbytes(chance.randrange(3)) + packet[at + chance.randrange(3) :]
        return chance.randbytes(chance.choice((0, 1, 20, 3_000, 65_537)))


def make_traffic(names: Sequence[str]) -> Traffic:
    vectors = [bytes.fromhex(vector["packet"]) for vector in json.loads(VECTORS.read_text())["vectors"]]
    requests = [
        tcp(*names),
        tcp(*names, 0),
        tcp(0, 1, *names[:1]),
        tcp(f"{names[0]}-missing", wait_s=0.05),
        OpenRequest(2, tuple(SocketSpec(names[0], *TCP, 0, ("127.0.0.1", 0), 1) for _ in range(20))),
        OpenRequest(3, tuple(SocketSpec(name, *UDP) for name in names * 20)),
        OpenRequest(4, (SocketSpec(names[0], 17, 3, 0), SocketSpec(names[0], 16, 3, 0), SocketSpec(names[0], 1, 1, 0))),
        NamespacesRequest(5),
        ResolverRequest(6, names[0]),
        ExplainRequest(7, SocketSpec(names[0], *TCP), None),
    ]
    ours, theirs = socket.socketpair()
    opened = [
        os.open("/proc/self/ns/net", os.O_RDONLY),
        *(os.open(path_of(name), os.O_RDONLY) for name in names),
        os.open("/proc/self/ns/user", os.O_RDONLY),
        os.open("/etc/passwd", os.O_RDONLY),
        os.pidfd_open(os.getpid()),
        os.eventfd(0),
        os.memfd_create("x"),
        *os.pipe(),
        ours.detach(),
        theirs.detach(),
    ]
    return Traffic([*(encode_request(one) for one in requests), *vectors], opened)


def _send_chaos(path: str, seed: int, packets: int, names: Sequence[str], sent: Counters) -> None:
    chance, traffic = random.Random(seed), make_traffic(names)
    while sent[seed % CLIENTS] < packets:
        with contextlib.suppress(OSError, ValueError, AssertionError), RawClient(path) as client:
            for _ in range(chance.randrange(1, 60)):
                files = chance.choices(traffic.files, k=chance.choice((1, 1, 2, 17))) if chance.random() < 0.2 else []
                if chance.random() < 0.05:
                    files.append(client.sock.fileno())
                sent[seed % CLIENTS] += 1
                client.send(traffic.packet(chance), files)
                if chance.random() < 0.7:
                    client.receive_alone()
                    client.close_fds()


def _reload_meanwhile(broker: BrokerProcess, children: Sequence[Child], sent: Counters, packets: int) -> int:
    """Load one policy after another until the clients have sent their packets. Return the number of reloads."""
    reloads = 0
    deadline = time.monotonic() + LIMIT_S
    while reloads < LEAST_RELOADS or any(sent[i] < packets for i in range(CLIENTS)):
        assert time.monotonic() < deadline, "the clients do not get on"
        broker.configure(POLICIES[reloads % len(POLICIES)], QUOTAS)
        broker.reload()
        reloads += 1
    for child in children:
        child.result(LIMIT_S)
    broker.configure(FREE, QUOTAS)
    broker.reload()
    return reloads


def _attack(broker: BrokerProcess, names: Sequence[str], packets: int, seed: int) -> int:
    sent = Counters(CLIENTS)
    children = [
        start_as_user(UIDS[i % 2], GROUP, _send_chaos, str(broker.socket_path), seed + i, packets, names, sent)
        for i in range(CLIENTS)
    ]
    return _reload_meanwhile(broker, children, sent, packets)


SHARED = 2
"""Descriptors of the watch of mounts that the first sent descriptor opens, and that later ones share."""


def wait_for_quiet(broker: BrokerProcess) -> tuple[int, int]:
    """Wait until only the witness is connected, and no thread closes anything. Return descriptors and threads."""
    wait_until(lambda: connections_to(str(broker.socket_path)) == 1)
    wait_until(lambda: thread_count(broker.pid) == THREADS)
    return idle_descriptors(broker.pid), thread_count(broker.pid)


def test_chaos_leaves_nothing_behind(
    make_namespace: Callable[..., str],
    start_broker: Callable[..., BrokerProcess],
    long: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No descriptor, thread, sealed socket or memory stays, and another client is served before and after."""
    names = [make_namespace() for _ in range(2)]
    broker = start_broker(FREE + LIMITED, QUOTAS)
    with RawClient(broker) as witness:
        _attack(broker, names, WARM_UP // CLIENTS, 0)
        assert witness.works(names[0])
        before = wait_for_quiet(broker)
        resident = resident_kib(broker.pid)
        packets = 200_000 if long else 8_000
        reloads = _attack(broker, names, packets // CLIENTS, CLIENTS)
        assert witness.works(names[0])
        # Answers that nobody has open any more, and the watch for awaited names, go a moment later.
        wait_until(lambda: wait_for_quiet(broker)[0] <= before[0] + SHARED)
        after = wait_for_quiet(broker)
        growth = resident_kib(broker.pid) - resident
    with capsys.disabled():
        print(
            f"\nchaos: {packets} packets, {reloads} reloads; descriptors and threads {before} before, {after} after;"
            f" resident memory {resident} KiB, {growth:+} KiB"
        )
    assert after[1] == before[1]
    assert {record["outcome"] for record in broker.audit()} == {"allowed", "denied", "failed"}
    assert listed(broker) == []
    assert growth < RESIDENT_GROWTH_KIB
