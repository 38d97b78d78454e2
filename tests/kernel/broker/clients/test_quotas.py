"""Quotas: a client that takes too much is refused or dropped, the others go on, and the broker frees everything."""

from __future__ import annotations

import json
import resource
import select
import signal
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import msgpack
import pytest

from nsbroker.wire import (
    BAD_REQUEST,
    MAX_SOCKETS,
    NO_SUCH_NAMESPACE,
    OVERLOADED,
    ErrorReply,
    OpenReply,
    OpenRequest,
    SocketSpec,
    encode_request,
)
from nsbroker.wire.bounds import MAX_OPTION_BYTES, MAX_OPTIONS
from nsbrokerd.clients.client import RECORDED_REFUSALS
from nsbrokerd.clients.peer import MAX_GROUPS
from nsbrokerd.service.line_quota import MOST_FOR_USER
from support.brokers.process import EVERYTHING, BrokerProcess
from support.brokers.raw_client import RawClient, tcp
from support.process_state import idle_descriptors, resident_kib, stopped
from support.users import GROUP, USER, as_unprivileged, start_as_user
from support.waiting import Counters, wait_until

IN_FLIGHT = 64
"""The most sockets in one unread reply: a quarter of the send buffer, 256 bytes for each."""

COUNTED_S = 30
"""Within this time, the audit and the log surely have the number of the refusals of a second."""

SILENT = 1000
RESIDENT_FOR_CLIENT_KIB = 4


def quotas(**settings: int) -> str:
    return "[quotas]\n" + "\n".join(f"{key} = {value}" for key, value in settings.items()) + "\n"


def is_turned_away(client: RawClient) -> bool:
    reply = client.receive()
    assert isinstance(reply, ErrorReply)
    assert (reply.code, reply.request_id) == (OVERLOADED, None)
    return client.has_hung_up()


def is_admitted(broker: BrokerProcess | str) -> bool:
    with RawClient(broker) as client, suppress(BrokenPipeError, ConnectionResetError):
        return client.works()
    return False


@pytest.mark.parametrize(("setting", "for_nobody"), [("clients", False), ("clients_per_user", True)])
def test_client_beyond_the_limit_is_turned_away(
    start_broker: Callable[..., BrokerProcess], setting: str, for_nobody: bool
) -> None:
    """The client gets the reason. Connected clients stay, and another user gets in unless the quota is that of all."""
    broker = start_broker(EVERYTHING, quotas(**{setting: 3}))
    with ExitStack() as stack:
        inside = [stack.enter_context(RawClient(broker)) for _ in range(3)]
        assert all(client.works() for client in inside)
        assert is_turned_away(stack.enter_context(RawClient(broker)))
        assert as_unprivileged(is_admitted, str(broker.socket_path)) is for_nobody
        inside[0].sock.close()
        wait_until(lambda: is_admitted(broker))
        assert all(client.works() for client in inside[1:])


def test_user_with_too_many_requests_in_a_second_is_refused(start_broker: Callable[..., BrokerProcess]) -> None:
    """The quota covers all its connections. Another user is not affected, and neither is the same user later."""
    broker = start_broker(EVERYTHING, quotas(requests_per_second=2))
    with RawClient(broker) as first, RawClient(broker) as second:
        with stopped(broker.pid):
            for number in range(20):
                (first, second)[number % 2].send(tcp("@host", request_id=number))
        replies = [(first, second)[number % 2].receive() for number in range(20)]
        assert sum(isinstance(reply, OpenReply) for reply in replies) >= 2
        refused = [(number, reply) for number, reply in enumerate(replies) if isinstance(reply, ErrorReply)]
        assert refused
        assert all((reply.code, reply.request_id) == (OVERLOADED, number) for number, reply in refused)
        assert as_unprivileged(is_admitted, str(broker.socket_path))
        wait_until(first.works)


@pytest.mark.parametrize("packet", [encode_request(tcp("@host")), msgpack.packb({"v": 1, "id": 1, "op": "?"})])
def test_requests_past_the_rate_do_not_fill_the_audit(
    start_broker: Callable[..., BrokerProcess], packet: bytes
) -> None:
    """Neither do bad ones: they count as well. The audit has their number, and every client is answered."""
    broker = start_broker(EVERYTHING, quotas(requests_per_second=2))
    with RawClient(broker) as client:
        with stopped(broker.pid):
            for _ in range(40):
                client.send(packet)
        replies = [client.receive() for _ in range(40)]
    refused = sum(isinstance(reply, ErrorReply) and reply.code == OVERLOADED for reply in replies)
    assert refused > 20
    wait_until(lambda: sum(one["count"] for one in _counts(broker)) == refused, COUNTED_S)
    assert len(_counts(broker)) < refused / 2
    assert not [one for one in broker.audit() if one.get("code") == OVERLOADED and one["audit"] != "refusals"]


def _counts(broker: BrokerProcess) -> list[dict[str, Any]]:
    return [{"count": 1, **record} for record in broker.audit() if record["audit"] == "refusals"]


def _ask_in_vain(path: str, requests: int) -> float:
    """Send refused requests with as long values as possible. Return the seconds that they took."""
    options = tuple((socket.SOL_IP, number, b"\xff" * MAX_OPTION_BYTES) for number in range(MAX_OPTIONS))
    request = OpenRequest(1, (SocketSpec("x" * 800, socket.AF_INET, socket.SOCK_STREAM, options=options),))
    start = time.monotonic()
    with RawClient(path) as client:
        assert all(client.refusal(request).code == NO_SUCH_NAMESPACE for _ in range(requests))
    return time.monotonic() - start


def test_refusals_do_not_fill_the_audit(start_broker: Callable[..., BrokerProcess], long: bool) -> None:
    """Each refusal is in it, by a record of its own or in the number of a later one. All of them are short."""
    broker = start_broker(EVERYTHING)
    requests = 20_000 if long else 1000
    took_s = as_unprivileged(_ask_in_vain, str(broker.socket_path), requests)
    wait_until(lambda: sum(record.get("count", 1) for record in broker.audit()) == requests, COUNTED_S)
    assert sum(record["audit"] == "open" for record in broker.audit()) <= RECORDED_REFUSALS * (took_s + 1)
    assert len(_counts(broker)) <= took_s + 2
    last = _counts(broker)[-1]
    assert (last["uid"], last["id"], last["outcome"], last["code"]) == (USER, None, "failed", NO_SUCH_NAMESPACE)
    assert last["reason"].startswith("no namespace can have this name")
    assert max(map(len, broker.audit_path.read_bytes().splitlines())) <= 6000


def _connect_in_vain(path: str, connections: int) -> float:
    start = time.monotonic()
    for _ in range(connections):
        with RawClient(path) as client:
            assert is_turned_away(client)
    return time.monotonic() - start


def test_connections_past_the_quota_do_not_fill_the_log(start_broker: Callable[..., BrokerProcess]) -> None:
    """It has a few lines of a user each second, and the number of the others."""
    broker, connections = start_broker(EVERYTHING, quotas(clients=1)), 300
    with RawClient(broker) as client:
        assert client.works()
        took_s = as_unprivileged(_connect_in_vain, str(broker.socket_path), connections)
        wait_until(lambda: sum(line.get("more", 1) for line in _refusals_in_log(broker)) == connections, COUNTED_S)
    lines = _refusals_in_log(broker)
    assert len(lines) <= (MOST_FOR_USER + 1) * (took_s + 2)
    assert {line["uid"] for line in lines} == {USER}


def test_clients_that_can_not_be_known_do_not_fill_the_log(start_broker: Callable[..., BrokerProcess]) -> None:
    """Each of them is a line. The log has a few in each second, and the number of the others."""
    broker, connections, groups = start_broker(), 300, range(1000, 1000 + 2 * MAX_GROUPS)
    child = start_as_user(USER, GROUP, _connect_unknown, str(broker.socket_path), connections, groups=groups)
    took_s = child.result()
    event = "client refused"
    wait_until(lambda: sum(line.get("more", 1) for line in _refusals_in_log(broker, event)) == connections, COUNTED_S)
    lines = _refusals_in_log(broker, event)
    assert len(lines) <= (MOST_FOR_USER + 1) * (took_s + 2)
    assert any(f"more than {MAX_GROUPS} groups" in line.get("reason", "") for line in lines)


def _connect_unknown(path: str, connections: int) -> float:
    start = time.monotonic()
    for _ in range(connections):
        with RawClient(path) as client:
            assert client.has_hung_up()
    return time.monotonic() - start


def _refusals_in_log(broker: BrokerProcess, event: str = "client refused: too many clients") -> list[dict[str, Any]]:
    lines = map(json.loads, broker.log().splitlines())
    return [line for line in lines if line["event"] == event]


def test_packet_beyond_the_limit_is_a_bad_request(start_broker: Callable[..., BrokerProcess]) -> None:
    broker = start_broker(EVERYTHING, quotas(packet_bytes=256))
    with RawClient(broker) as client:
        assert client.works()
        long = tcp(*["@host"] * 20)
        assert len(encode_request(long)) > 256
        reply = client.refusal(long)
        assert (reply.code, reply.request_id) == (BAD_REQUEST, None)
        assert client.has_hung_up()


@pytest.mark.parametrize(("sockets", "in_flight"), [(1, IN_FLIGHT), (MAX_SOCKETS, 8 * MAX_SOCKETS)])
def test_client_that_never_reads_is_bounded_and_dropped(
    start_broker: Callable[..., BrokerProcess], sockets: int, in_flight: int
) -> None:
    """It sends requests as fast as they are taken: few sockets wait for it, and after a second it is dropped."""
    broker = start_broker(EVERYTHING, quotas(reply_timeout_s=1))
    with RawClient(broker) as witness, RawClient(broker) as client:
        assert witness.works()
        before = idle_descriptors(broker.pid)
        _fill(client, encode_request(tcp(*["@host"] * sockets)))
        assert witness.works()
        poll = select.poll()
        poll.register(client.sock, select.POLLHUP)
        assert poll.poll(60_000)
        made = sum(len(record.get("sockets", ())) for record in broker.audit()) - 2
        assert sockets <= made <= in_flight
        assert "it does not read its replies" in broker.log()
        assert witness.works()
        wait_until(lambda: idle_descriptors(broker.pid) == before - 1)


def _fill(client: RawClient, packet: bytes) -> None:
    """Send until the broker takes no more for a while, or a few thousand times."""
    client.sock.setblocking(False)
    writable = select.poll()
    writable.register(client.sock, select.POLLOUT)
    for _ in range(5000):
        with suppress(BlockingIOError):
            client.send(packet)
            continue
        if not writable.poll(200):
            return


def test_silent_clients_cost_little_and_hold_up_nobody(start_broker: Callable[..., BrokerProcess]) -> None:
    """Two users have two thousand clients. The clients are killed at the end."""
    broker = start_broker(EVERYTHING)
    with RawClient(broker) as witness:
        assert witness.works()
        before, resident = idle_descriptors(broker.pid), resident_kib(broker.pid)
        connected = Counters(2)
        path = str(broker.socket_path)
        children = [start_as_user(uid, GROUP, _connect, path, connected, i) for i, uid in enumerate((0, USER))]
        try:
            wait_until(lambda: connected.sum() == 2 * SILENT)
            assert witness.works()
            assert idle_descriptors(broker.pid) == before + 2 * SILENT + 1  # by which the second user takes turns
            assert resident_kib(broker.pid) - resident < 2 * SILENT * RESIDENT_FOR_CLIENT_KIB
        finally:
            for child in children:
                child.kill()
        assert witness.works()
        wait_until(lambda: idle_descriptors(broker.pid) == before)


def _connect(path: str, connected: Counters, index: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    clients = []
    while len(clients) < SILENT:
        clients.append(RawClient(path))
        connected[index] = len(clients)
    signal.pause()


def test_clients_that_die_with_requests_under_way_leave_nothing(broker: BrokerProcess) -> None:
    """They are killed at different moments, after requests for thousands of sockets."""
    with RawClient(broker) as witness:
        assert witness.works()
        before = idle_descriptors(broker.pid)
        for sent in (1, 3, 10, 100):
            progress = Counters(1)
            child = start_as_user(USER, GROUP, _ask_on_and_on, str(broker.socket_path), progress)
            wait_until(lambda progress=progress, sent=sent: progress[0] >= sent)
            child.kill()
            assert witness.works()
        wait_until(lambda: idle_descriptors(broker.pid) == before)


def _ask_on_and_on(path: str, progress: Counters) -> None:
    with RawClient(path) as client:
        client.send(tcp(*["@host"] * 100))
        while True:
            client.send(tcp(*["@host"] * 100))
            client.receive()
            client.close_fds()
            progress[0] += 1
