"""Each connection of the proxy is made in the namespace, whatever exists outside, or there is none."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from support import namespaces
from support.brokers.process import BrokerProcess, running
from support.inside import enter, path_of
from support.proxied import HOST4, Inside, Proxied, Server, exactly, inside, socks, to_the_end, tunnel
from support.users import USER, as_user

INSIDE, OUTSIDE = b"inside", b"outside"


@pytest.fixture
def server(place: Inside) -> Iterator[Server]:
    """A server inside. The program's own namespace has another one, at the same port of the same addresses."""
    server = Server(place.name, lambda sock: sock.sendall(INSIDE))
    yield server
    server.close()


def said(proxy: Proxied, host: str, port: int) -> bytes:
    with proxy.connect() as sock:
        if socks(sock, host, port):
            return b""
        return to_the_end(sock)


@pytest.fixture
def outside(server: Server) -> Iterator[list[bytes]]:
    """Servers in the program's own namespace. The list has a word for each client of theirs."""
    seen: list[bytes] = []
    listeners = [
        socket.create_server(("127.0.0.1", server.port)),
        socket.create_server(("::1", server.port), family=socket.AF_INET6),
    ]

    def serve(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                with listener.accept()[0] as sock:
                    seen.append(OUTSIDE)
                    sock.sendall(OUTSIDE)

    threads = [threading.Thread(target=serve, args=(listener,)) for listener in listeners]
    for thread in threads:
        thread.start()
    yield seen
    for listener, thread in zip(listeners, threads, strict=True):
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_loopback_address_is_that_of_the_namespace(
    place: Inside, server: Server, outside: list[bytes], host: str
) -> None:
    """Also by its name."""
    assert said(place.start(), host, server.port) == INSIDE
    assert outside == []


def test_without_a_server_inside_there_is_no_connection(place: Inside, server: Server, outside: list[bytes]) -> None:
    proxy = place.start()
    server.close()
    assert said(proxy, "127.0.0.1", server.port) == b""
    assert outside == []


def test_name_that_only_the_machine_knows_is_unknown(place: Inside) -> None:
    """As its own name, which is in its /etc/hosts."""
    proxy = place.start()
    with proxy.connect() as sock:
        assert socks(sock, socket.gethostname(), 80) == 4


def test_without_a_broker_there_is_no_connection(make_namespace: Callable[..., str]) -> None:
    """The client of the proxy is told so by each protocol, and served again when the broker is back."""
    grant = '[[grant]]\nname = "all"\nusers = ["*"]\nnamespaces = ["*"]\nsockets = ["tcp", "udp"]\n'
    with running(grant) as broker, inside(broker, make_namespace("left")) as place:
        server = Server(place.name, lambda sock: sock.sendall(INSIDE))
        proxy = place.start(options=("--timeout", "0.3"))
        broker.stop()
        with proxy.connect() as sock:
            assert socks(sock, "127.0.0.1", server.port) == 1
        with proxy.connect() as sock:
            assert tunnel(sock, "127.0.0.1", server.port) == 503
        broker.start()
        assert said(proxy, HOST4, server.port) == INSIDE
        server.close()
        proxy.running.send(signal.SIGTERM)
        assert "no broker" in proxy.running.finish().err


def test_limit_of_the_grant_holds(make_namespace: Callable[..., str]) -> None:
    """Its client is told that this is not allowed. Names that the limit keeps from a name server are unknown."""
    name = make_namespace("limited")
    grant = f"""
[[grant]]
name = "limited"
users = [{USER}]
namespaces = ["{name}"]
sockets = ["tcp"]
limit = {{ connect = ["127.0.0.1:7"], bind = [] }}
"""
    with running(grant) as broker, inside(broker, name) as place:
        proxy = place.start("--any-user", uid=USER)
        with proxy.connect() as sock:
            assert socks(sock, "127.0.0.1", 8) == 2
        with proxy.connect() as sock:
            assert tunnel(sock, "127.0.0.1", 8) == 403
        with proxy.connect() as sock:
            assert socks(sock, "127.0.0.1", 7) == 5


def test_namespace_that_was_made_anew_is_the_one_that_counts(
    shared_broker: BrokerProcess, make_namespace: Callable[..., str]
) -> None:
    """In between, its client is told that there is none."""
    name = make_namespace("anew")
    with inside(shared_broker, name) as place:
        proxy = place.start()
        first = Server(name, lambda sock: sock.sendall(b"first"))
        assert said(proxy, "127.0.0.1", first.port) == b"first"
        namespaces.delete(name)
        with proxy.connect() as sock:
            assert tunnel(sock, "127.0.0.1", first.port) == 503
        namespaces.make(name)
        second = Server(name, lambda sock: sock.sendall(b"second"), first.port)
        assert said(proxy, "127.0.0.1", first.port) == b"second"
        for server in (first, second):
            server.close()


def test_proxy_listens_in_its_own_namespace(place: Inside, make_namespace: Callable[..., str]) -> None:
    """And looks its users up there."""
    own = make_namespace("own")
    started = place.run.start(place.name, "proxy", "-l", "127.0.0.1:0", uid=0, network=own)
    proxy = Proxied(started, started.read_until("\n").splitlines())
    with pytest.raises(ConnectionRefusedError):
        proxy.connect()
    server = Server(place.name, lambda sock: sock.sendall(INSIDE))
    assert as_user(0, 0, use_in, own, proxy.address, server.port) == INSIDE
    server.close()


def use_in(namespace: str, address: str, port: int) -> bytes:
    enter(path_of(namespace))
    host, _, number = address.rpartition(":")
    with socket.create_connection((host, int(number))) as sock:
        assert socks(sock, HOST4, port) == 0
        return exactly(sock, len(INSIDE))
