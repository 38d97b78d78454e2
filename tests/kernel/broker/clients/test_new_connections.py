"""One user's new connections, and those that hang while they are closed, keep no other user out."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from contextlib import suppress

from nsbroker.wire import NO_SUCH_NAMESPACE, OVERLOADED, ErrorReply, OpenReply
from support.brokers.process import EVERYTHING, BrokerProcess
from support.brokers.raw_client import RawClient, connect_as, tcp
from support.process_state import porters_of, stopped
from support.users import GROUP, OTHER_USER, USER, start_as_user
from support.waiting import Counters, wait_until

SEVERAL = 3
MOST_ROUNDS = 400
AT_ONCE = 500
LIMIT_S = 120


def test_connections_that_hang_keep_only_their_user_out(start_broker: Callable[..., BrokerProcess]) -> None:
    """They count as its connections until they are closed. Another user connects and is served meanwhile."""
    broker = start_broker(EVERYTHING, f"[quotas]\nclients_per_user = {SEVERAL}\n")
    with connect_as(USER, broker) as hostile:
        assert hostile.refusal(tcp(0), [0]).code == NO_SUCH_NAMESPACE
    (porter,) = porters_of(broker.pid)
    with stopped(porter):
        for _ in range(SEVERAL):
            with stopped(broker.pid), connect_as(USER, broker) as hostile:
                hostile.send(b"never read", [0])
            with connect_as(OTHER_USER, broker) as other:
                assert other.works()
        for _ in range(20):
            with connect_as(OTHER_USER, broker) as other:
                assert other.works()
            with connect_as(USER, broker) as hostile:
                reply = hostile.receive()
                assert isinstance(reply, ErrorReply)
                assert reply.code == OVERLOADED
        assert "can't accept clients" not in broker.log()
    wait_until(lambda: _is_served(broker))


def _connect_until_turned_away(path: str, rounds: Counters) -> bool:
    """Connect and hang up again and again, until a connection is turned away."""
    for _ in range(MOST_ROUNDS):
        for _ in range(AT_ONCE):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
                sock.connect(path)
        rounds[0] += 1
        try:
            with RawClient(path) as client:
                if not isinstance(client.ask(tcp("@host")), OpenReply):
                    return True
        except (BrokenPipeError, ConnectionResetError):
            return True
    return False


def test_user_that_opens_too_many_connections_is_turned_away_and_others_are_served(
    start_broker: Callable[..., BrokerProcess],
) -> None:
    """The log has the number. After a while, the user can connect again."""
    broker = start_broker()
    rounds = Counters(1)
    child = start_as_user(USER, GROUP, _connect_until_turned_away, str(broker.socket_path), rounds)
    wait_until(lambda: rounds[0] > 0, LIMIT_S)
    for _ in range(10):
        with connect_as(OTHER_USER, broker) as other:
            assert other.works()
    assert child.result(LIMIT_S)
    wait_until(lambda: _turned_away(broker) > 0, LIMIT_S)
    wait_until(lambda: _is_served(broker), LIMIT_S)


def _turned_away(broker: BrokerProcess) -> int:
    lines = [json.loads(line) for line in broker.log().splitlines()]
    return sum(
        line["more"]
        for line in lines
        if line["event"] == "client refused: too many new connections" and line["uid"] == USER
    )


def _is_served(broker: BrokerProcess) -> bool:
    with connect_as(USER, broker) as client, suppress(BrokenPipeError, ConnectionResetError):
        return isinstance(client.ask(tcp("@host")), OpenReply)
    return False
