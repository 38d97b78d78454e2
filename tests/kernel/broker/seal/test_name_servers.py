"""Limited sockets reach the name servers of their namespace: a limit need not list them."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import dns.message
import dns.rrset
import pytest

import nsbroker
from support.brokers.limited import can_send, grant, open_limited
from support.brokers.process import BrokerProcess
from support.far_side import socket_inside
from support.names.etc_netns import ETC, make_files, remove_files
from support.users import as_unprivileged

SERVER, ANOTHER = "127.0.0.53", "127.0.0.54"
ADDRESSES = {"near.example.": "127.0.0.9", "far.example.": "127.0.0.10"}


@pytest.fixture
def name(make_namespace: Callable[..., str]) -> Iterator[str]:
    """A namespace with a name server on its loopback."""
    name = make_namespace()
    make_files(name)
    use_server(name, SERVER)
    yield name
    remove_files(name)


def use_server(name: str, server: str) -> None:
    (ETC / name / "resolv.conf").write_text(f"nameserver {server}\noptions attempts:1 timeout:5\n")


def _answer(server: socket.socket) -> None:
    """Answer until something empty comes."""
    while True:
        packet, client = server.recvfrom(4096)
        if not packet:
            return
        query = dns.message.from_wire(packet)
        reply = dns.message.make_response(query)
        [question] = query.question
        if question.rdtype == dns.rdatatype.A:
            address = ADDRESSES[question.name.to_text()]
            reply.answer.append(dns.rrset.from_text(question.name, 60, "IN", "A", address))
        server.sendto(reply.to_wire(), client)


@pytest.fixture
def server(name: str) -> Iterator[None]:
    with closing(socket_inside(name, int(socket.AF_INET), int(socket.SOCK_DGRAM))) as sock:
        sock.bind((SERVER, 53))
        thread = threading.Thread(target=_answer, args=(sock,))
        thread.start()
        yield
        sock.sendto(b"", sock.getsockname())
        thread.join()


def _visit(path: str, name: str) -> tuple[object, object]:
    blue = nsbroker.Namespace(name, path=path)
    with blue.create_connection(("near.example", 443), timeout=20) as near:
        peer = near.getpeername()
    try:
        blue.create_connection(("far.example", 443), timeout=20)
    except OSError as error:
        return peer, error.errno
    return peer, None


@pytest.mark.usefixtures("server")
def test_names_are_looked_up_and_what_they_stand_for_is_limited(
    start_broker: Callable[..., BrokerProcess], name: str
) -> None:
    """The grant of this unprivileged client lists one address and no name server."""
    broker = start_broker(grant(connect=["127.0.0.9:443"]))
    with closing(socket_inside(name, int(socket.AF_INET), int(socket.SOCK_STREAM))) as listener:
        listener.bind(("0.0.0.0", 443))
        listener.listen()
        assert as_unprivileged(_visit, str(broker.socket_path), name) == (("127.0.0.9", 443), errno.EPERM)


def test_name_server_alone_is_reached_and_another_after_a_reload(
    start_broker: Callable[..., BrokerProcess], name: str
) -> None:
    broker = start_broker(grant(connect=["127.0.0.9:443"]))
    with open_limited(broker, name) as udp:
        assert [can_send(udp, 53, SERVER), can_send(udp, 54, SERVER)] == [True, False]
        assert not can_send(udp, 53, ANOTHER)
        use_server(name, ANOTHER)
        broker.reload()
        assert [can_send(udp, 53, SERVER), can_send(udp, 53, ANOTHER)] == [False, True]


def _limits(path: str) -> dict[str, tuple[object, object]]:
    with nsbroker.Client(path) as client:
        return {grant.name: tuple(grant.limit) for grant in client.namespaces().grants}


@pytest.mark.usefixtures("name")
def test_user_sees_the_limits_that_hold(start_broker: Callable[..., BrokerProcess]) -> None:
    """The limits of the policy and the name servers. An empty list is not the same as no limit."""
    rules = ["127.0.0.0/30:80-90", "[fd00::/8]:443"]
    grants = grant("some", connect=rules), grant("none", bind=[]), grant("free")
    broker = start_broker("".join(grants))
    limits = as_unprivileged(_limits, str(broker.socket_path))
    assert limits.keys() == {"some", "none", "free"}
    connect, bind = limits["some"]
    assert (connect[:2], bind) == (tuple(rules), None)
    assert f"{SERVER}:53" in connect[2:]
    assert (limits["none"], limits["free"]) == ((None, ()), (None, None))


def test_where_nothing_is_reachable_the_name_server_is_not(
    start_broker: Callable[..., BrokerProcess], name: str
) -> None:
    broker = start_broker(grant(connect=[]))
    with open_limited(broker, name) as udp:
        assert not can_send(udp, 53, SERVER)
