"""A namespace with names, and servers in it, for all tests of a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support import namespaces
from support.brokers.process import BrokerProcess
from support.names import dnsmasq
from support.proxied import Inside, Server, answer_http, echo, inside


@pytest.fixture(scope="module")
def place(shared_broker: BrokerProcess) -> Iterator[Inside]:
    """The namespace."""
    if reason := dnsmasq.why_not():
        pytest.skip(reason)
    name = f"{namespaces.PREFIX}proxy"
    namespaces.make(name)
    try:
        with inside(shared_broker, name) as made:
            yield made
    finally:
        namespaces.delete(name)


@pytest.fixture(scope="module")
def echo_server(place: Inside) -> Iterator[Server]:
    """Sends everything back."""
    server = Server(place.name, echo)
    yield server
    server.close()


@pytest.fixture(scope="module")
def web_server(place: Inside) -> Iterator[Server]:
    """Answers a request with its bytes."""
    server = Server(place.name, answer_http)
    yield server
    server.close()
