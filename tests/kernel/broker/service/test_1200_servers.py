"""One thread that serves 1,200 sockets of 50 namespaces, with the protocols that this kernel has."""

from __future__ import annotations

from collections.abc import Callable

from support.brokers.process import BrokerProcess
from support.brokers.production import NAMESPACES, SERVERS, TRIPLES, kernel_has, serve_and_ask


def test_one_thread_answers_for_all(
    make_namespace: Callable[..., str], start_broker: Callable[..., BrokerProcess]
) -> None:
    """A peer inside each namespace asks each of its servers. tests/vm has the same with SCTP, on the service."""
    kinds = [kind for kind in TRIPLES if kernel_has(kind)]
    names = [make_namespace() for _ in range(NAMESPACES)]
    broker = start_broker()
    found = serve_and_ask(broker.socket_path, broker.pid, (), names, kinds)
    assert (found.answered, found.client_threads) == (SERVERS, 1)
    assert found.broker_threads <= 3
