"""Twisted's endpoints in a namespace, as clients and as servers. `test_http_clients` has its HTTP client."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet import defer, error
from twisted.internet.protocol import Factory, Protocol

from nsbroker.adapters.twisted import HostnameEndpoint, TCP4ServerEndpoint, TCP6ServerEndpoint
from support.adapters.example_org import CLIENT, HOST, ExampleOrg
from support.adapters.programs import wait_for_listener
from support.adapters.web_clients_twisted import run_reactor
from support.inside import call_inside

PORT = 800
"""Below 1024: the broker binds it."""


class Echo(Protocol):
    """Sends everything back, and ends the reactor after its peer."""

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self.transport.write(data)

    def connectionLost(self, reason: object = None) -> None:  # noqa: N802
        self.factory.ended.callback(None)  # type: ignore[union-attr]  # a Factory of ours


def serve_one(namespace: str, endpoint: Callable[..., TCP4ServerEndpoint]) -> str:
    async def serve(reactor: Any) -> str:
        factory: Any = Factory.forProtocol(Echo)
        factory.ended = defer.Deferred()
        port = await endpoint(namespace, reactor, PORT).listen(factory)
        await factory.ended
        address = str(port.getHost().host)
        await defer.maybeDeferred(port.stopListening)
        return address

    answer: str = run_reactor(serve)
    return answer


def ask(address: str) -> bytes:
    with socket.create_connection((address, PORT), 20) as sock:
        sock.sendall(b"hello")
        return sock.recv(5, socket.MSG_WAITALL)


def test_server_listens_inside(site: ExampleOrg) -> None:
    """On a port that its user may not bind."""
    server = site.start(serve_one, TCP4ServerEndpoint)
    wait_for_listener(site.client, PORT)
    assert call_inside(site.server, ask, CLIENT) == b"hello"
    assert server.result() == "0.0.0.0"


def test_server_listens_inside_over_ipv6(site: ExampleOrg) -> None:
    server = site.start(serve_one, TCP6ServerEndpoint)
    wait_for_listener(site.client, PORT)
    assert call_inside(site.client, ask, "::1") == b"hello"
    assert server.result() == "::"


def fail_to_listen(namespace: str) -> None:
    async def listen(reactor: Any) -> None:
        endpoint = TCP4ServerEndpoint(namespace, reactor, PORT)
        port = await endpoint.listen(Factory())
        with pytest.raises(error.CannotListenError, match="in use"):
            await endpoint.listen(Factory())
        await defer.maybeDeferred(port.stopListening)

    run_reactor(listen)


def test_taken_port_is_the_usual_error(site: ExampleOrg) -> None:
    site.run(fail_to_listen)


class Peer(Protocol):
    """Asks for its own address."""

    def connectionMade(self) -> None:  # noqa: N802
        self.data = b""
        self.ended: defer.Deferred[bytes] = defer.Deferred()
        self.transport.write(b"GET /peer HTTP/1.0\r\n\r\n")

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        self.data += data

    def connectionLost(self, reason: object = None) -> None:  # noqa: N802
        self.ended.callback(self.data)


def connect_from(namespace: str, address: str) -> bytes:
    async def connect(reactor: Any) -> bytes:
        endpoint = HostnameEndpoint(namespace, reactor, HOST.encode(), 80, bindAddress=address)
        protocol = await endpoint.connect(Factory.forProtocol(Peer))
        answer: bytes = await protocol.ended
        return answer

    return bytes(run_reactor(connect))


@pytest.mark.usefixtures("web")
def test_connection_has_the_address_it_was_given(site: ExampleOrg) -> None:
    """It is another one in the namespace, or does not exist there."""
    assert site.run(connect_from, CLIENT).endswith(CLIENT.encode())
    site.run(fail_to_bind)


def fail_to_bind(namespace: str) -> None:
    with pytest.raises(error.ConnectBindError):
        connect_from(namespace, "10.1.2.3")


class Nothing(Factory):
    """A factory that wants no protocol."""

    def buildProtocol(self, addr: object) -> None:  # noqa: N802
        return None


def connect_for_nothing(namespace: str) -> None:
    async def connect(reactor: Any) -> None:
        with pytest.raises(error.NoProtocol):
            await HostnameEndpoint(namespace, reactor, HOST, 80).connect(Nothing())

    run_reactor(connect)


@pytest.mark.usefixtures("web")
def test_factory_without_protocol_is_the_usual_error(site: ExampleOrg) -> None:
    site.run(connect_for_nothing)


def cancel(namespace: str) -> None:
    async def connect(reactor: Any) -> None:
        attempt = HostnameEndpoint(namespace, reactor, "10.98.0.9", 80).connect(Factory())
        reactor.callLater(0.1, attempt.cancel)
        with pytest.raises(defer.CancelledError):
            await attempt
        assert reactor.getWriters() == []

    run_reactor(connect)


def test_attempt_can_be_cancelled(site: ExampleOrg) -> None:
    """It leaves no trace in the reactor."""
    site.run(cancel)
