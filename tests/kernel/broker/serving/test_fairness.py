"""Users take turns: one with a thousand connections gets no more time than one with a single connection."""

from __future__ import annotations

from collections.abc import Callable

from nsbroker import SocketSpec
from nsbroker.wire import OpenReply, OpenRequest
from support.brokers.process import BrokerProcess
from support.brokers.raw_client import UDP, connect_as, tcp
from support.process_state import stopped
from support.users import OTHER_USER, USER

GREEDY, MODEST = USER, OTHER_USER
CONNECTIONS = 100
BATCH = 20
MOST_BETWEEN = 20
"""Requests of the greedy one before the last of the modest one: turns go by time, and neither begins with none used."""


def test_user_with_many_connections_has_the_turns_of_one(start_broker: Callable[..., BrokerProcess]) -> None:
    """The audit says in which order requests were served: all of them were there before the first one was."""
    broker = start_broker()
    greedy = [connect_as(GREEDY, broker) for _ in range(CONNECTIONS)]
    modest = connect_as(MODEST, broker)
    try:
        assert greedy[-1].works()
        assert modest.works()
        before = len(broker.audit())
        with stopped(broker.pid):
            for client in greedy:
                client.send(OpenRequest(1, (SocketSpec("@host", *UDP),) * BATCH))
            for _ in range(3):
                modest.send(tcp("@host"))
        for client in (*greedy, modest, modest, modest):
            assert isinstance(client.receive(), OpenReply)
            client.close_fds()
        order = [record["uid"] for record in broker.audit()[before:]]
        assert order.count(GREEDY) == CONNECTIONS
        last = len(order) - 1 - order[::-1].index(MODEST)
        assert order[:last].count(GREEDY) <= MOST_BETWEEN
    finally:
        for client in (*greedy, modest):
            client.close()
