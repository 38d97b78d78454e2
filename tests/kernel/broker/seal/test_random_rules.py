"""The kernel decides about each address as the policy's own functions do: random rules, random addresses."""

from __future__ import annotations

import ipaddress
import random
import socket
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from nsbroker import SocketSpec
from nsbroker.wire import OpenReply, OpenRequest
from nsbrokerd.config.load import load_config
from nsbrokerd.policy import Grant, Limit
from support.brokers.limited import disconnect, error_of
from support.brokers.process import BrokerProcess
from support.brokers.random_limits import Chance
from support.brokers.raw_client import connect_as
from support.far_side import socket_inside
from support.namespaces import PREFIX, ip
from support.udplite import UDPLITE
from support.udplite import why_not as why_no_udplite
from support.users import UIDS

GRANTS, LONG_GRANTS = 24, 250
PAIRS_FOR_GRANT = 500
ETH_P_ALL = 3


class Ask(NamedTuple):
    """One way to ask the kernel: a socket, a call, and the policy's answer."""

    family: int
    type: int
    protocol: int
    call: str
    decision: str


INET, INET6, STREAM, DGRAM = (int(n) for n in (socket.AF_INET, socket.AF_INET6, socket.SOCK_STREAM, socket.SOCK_DGRAM))
HOOKED = [
    Ask(family, kind, 0, call, decision)
    for family in (INET, INET6)
    for kind, call, decision in (
        (STREAM, "connect", "allows_connect"),
        (DGRAM, "connect", "allows_connect"),
        (DGRAM, "sendto", "allows_connect"),
        (STREAM, "bind", "allows_bind"),
        (DGRAM, "bind", "allows_bind"),
    )
] + [Ask(family, DGRAM, UDPLITE, "bind", "allows_bind") for family in (INET, INET6) if not why_no_udplite()]


def policy(chance: Chance, count: int, kinds: str, *, with_bind: bool) -> str:
    """Each grant is for one user. An unlimited grant has a limit that allows everything."""
    text = ""
    for number in range(count):
        limits = {"connect": chance.rules(), "bind": chance.rules() if with_bind else None}
        if all(rules is None for rules in limits.values()):
            limits["connect"] = ["*:*"]
        entries = ", ".join(f"{key} = {rules!r}" for key, rules in limits.items() if rules is not None)
        text += (
            f'[[grant]]\nname = "{number}"\nusers = [{UIDS[number]}]\nnamespaces = ["{PREFIX}*"]\n'
            f"sockets = {kinds}\nlimit = {{ {entries} }}\n"
        )
    return text


def opened(broker: BrokerProcess, name: str, asks: list[Ask]) -> Iterator[tuple[Limit, list[socket.socket]]]:
    """For each grant its limit as the broker reads it, and a socket for each way of asking."""
    grants: tuple[Grant, ...] = load_config(broker.config_path).policy.grants
    for number, grant in enumerate(grants):
        assert grant.limit is not None
        with connect_as(UIDS[number], broker) as client:
            specs = tuple(SocketSpec(name, *ask[:3]) for ask in asks)
            assert isinstance(client.ask(OpenRequest(1, specs)), OpenReply)
            sockets = [socket.socket(fileno=fd) for fd in client.fds]
            client.fds.clear()
        for sock in sockets:
            sock.setblocking(False)
        try:
            yield grant.limit, sockets
        finally:
            for sock in sockets:
                sock.close()


@pytest.fixture
def chance(long: bool) -> Chance:
    """They are the same every time, so that a failure is about the change at hand. The long run looks for new ones."""
    seed = random.SystemRandom().getrandbits(32) if long else 5
    print("seed", seed)
    return Chance(seed)


def test_kernel_decides_as_the_policy_does(
    start_broker: Callable[..., BrokerProcess],
    make_namespace: Callable[..., str],
    chance: Chance,
    long: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """TCP and UDP have hooks for connect, send and bind. A denial is EPERM, and no other error is a denial."""
    broker = start_broker(policy(chance, LONG_GRANTS if long else GRANTS, '["tcp", "udp", "udplite"]', with_bind=True))
    counts = {True: 0, False: 0}
    for limit, sockets in opened(broker, make_namespace(), HOOKED):
        for number in range(PAIRS_FOR_GRANT):
            index = number % len(HOOKED)
            ask = HOOKED[index]
            rules = (limit.connect if ask.decision == "allows_connect" else limit.bind) or ()
            host, port = chance.address(rules, 6 if ask.family == INET6 else 4)
            if ask.call == "sendto":
                port = port or 1  # the kernel itself refuses port 0, before it asks
            error = call(sockets[index], ask, host, port)
            is_allowed = getattr(limit, ask.decision)(host, port)
            assert (error != "EPERM") is is_allowed, (ask, host, port, error, [rule.text for rule in rules])
            counts[is_allowed] += 1
    with capsys.disabled():
        print(f"\nlimits: {counts[True]} addresses allowed, {counts[False]} denied, by kernel and policy alike")
    assert min(counts.values()) > sum(counts.values()) // 10


def call(sock: socket.socket, ask: Ask, host: str, port: int) -> str | None:
    if ask.call == "sendto":
        return error_of(sock.sendto, b"x", (host, port))
    error = error_of(getattr(sock, ask.call), (host, port))
    if ask.type == STREAM and ask.call == "connect":
        disconnect(sock)  # it waits for an answer, or has met itself
    return error


WATCHED = [
    Ask(family, kind, protocol, "sendto", "allows_connect")
    for family, kind, protocol in (
        (INET, int(socket.SOCK_RAW), 1),
        (INET6, int(socket.SOCK_RAW), 58),
        (INET, DGRAM, 1),
        (INET6, DGRAM, 58),
        (INET, DGRAM, UDPLITE),
        (INET6, DGRAM, UDPLITE),
    )
    if protocol != UDPLITE or not why_no_udplite()
]
SILENT = WATCHED[3]
"""The kernel returns no error for a denied IPv6 ping."""
_ECHO = {1: b"\x08\0\0\0\0\0\0\0", 58: b"\x80\0\0\0\0\0\0\0", UDPLITE: b"x"}


def test_kernel_lets_packets_out_as_the_policy_does(
    start_broker: Callable[..., BrokerProcess],
    make_namespace: Callable[..., str],
    chance: Chance,
    long: bool,
) -> None:
    """Without a hook, the seal looks at packets. A denied packet fails, and is on no interface."""
    name = make_namespace()
    watch = socket_inside(name, int(socket.AF_PACKET), DGRAM, socket.htons(ETH_P_ALL))
    ip("-n", name, "link", "add", "d0", "arp", "off", "type", "veth", "peer", "name", "d1")
    ip("-n", name, "address", "add", "198.51.100.1/24", "dev", "d0")
    ip("-n", name, "address", "add", "2001:db8:1::1/64", "dev", "d0", "nodad")
    for link in ("d0", "d1"):
        ip("-n", name, "link", "set", link, "up")
    ip("-n", name, "route", "add", "default", "dev", "d0")
    ip("-n", name, "-6", "route", "add", "default", "dev", "d0")
    ip("netns", "exec", name, "sh", "-c", "echo 0 4294967294 > /proc/sys/net/ipv4/ping_group_range")
    kinds = '["raw:icmp", "raw:icmpv6", "icmp", "udplite"]'
    broker = start_broker(policy(chance, LONG_GRANTS if long else GRANTS, kinds, with_bind=False))
    sent = denied = 0
    has_passed(watch, ipaddress.ip_address("::"))
    for limit, sockets in opened(broker, name, WATCHED):
        for number in range(PAIRS_FOR_GRANT // 5):
            ask = WATCHED[number % len(WATCHED)]
            version = 6 if ask.family == INET6 else 4
            host, port = chance.address(limit.connect or (), version)
            address = ipaddress.ip_address(host)
            if address.is_unspecified or (address.version == 6 and address.ipv4_mapped):
                continue  # the kernel puts another address in its place, or refuses it
            port = (port or 1) if ask.protocol == UDPLITE else 0
            error = error_of(sockets[number % len(WATCHED)].sendto, _ECHO[ask.protocol], (host, port))
            arrived = has_passed(watch, address)
            if limit.allows_connect(host, port if ask.protocol == UDPLITE else None):
                assert error != "EPERM", (ask, host, port, limit)
                sent += arrived
            else:
                assert not arrived, (ask, host, port, limit)
                assert error is not None or ask == SILENT, (ask, host, port, limit)
                denied += error == "EPERM"
    watch.close()
    assert sent > GRANTS
    assert denied > GRANTS


def has_passed(watch: socket.socket, to: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Look at all packets that passed on any interface since the last time: was one for this address among them?"""
    first, found = (16, False) if to.version == 4 else (24, False)
    while True:
        try:
            packet = watch.recv(64, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return found
        found |= packet[0] >> 4 == to.version and packet[first : first + len(to.packed)] == to.packed
