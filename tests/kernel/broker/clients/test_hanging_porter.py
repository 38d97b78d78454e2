"""A porter that hangs in a client's file system keeps the broker neither from ending nor from starting again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from nsbroker.wire import NO_SUCH_NAMESPACE, OVERLOADED, OpenReply
from support import fuse_server
from support.brokers.limited import grant
from support.brokers.process import BrokerProcess
from support.brokers.raw_client import RawClient, connect_as, tcp
from support.fuse_server import FuseServer
from support.process_state import has_hanging_thread, porters_of
from support.users import OTHER_USER, USER, as_unprivileged
from support.waiting import wait_until

pytestmark = pytest.mark.skipif(fuse_server.why_not() is not None, reason=str(fuse_server.why_not()))

LIMITED = grant(connect=["10.9.0.2:4000"], sockets=["tcp"])
"""With a limit, a broker has a control group and locks the directory of its pins."""


@pytest.fixture
def broker(start_broker: Callable[..., BrokerProcess]) -> BrokerProcess:
    return start_broker(LIMITED)


def _send(broker: str, path: str) -> str:
    with RawClient(broker) as client:
        fd = os.open(path, os.O_RDONLY)
        code = client.refusal(tcp(0), [fd]).code
        os.close(fd)
        return code


def hang(broker: BrokerProcess, server: FuseServer) -> int:
    """Have the user's porter hang, and return it."""
    assert as_unprivileged(_send, str(broker.socket_path), str(server.path)) == NO_SUCH_NAMESPACE
    (porter,) = porters_of(broker.pid)
    wait_until(lambda: has_hanging_thread(porter))
    return porter


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_broker_ends_and_the_next_one_serves(
    broker: BrokerProcess, server: FuseServer, make_namespace: Callable[..., str], end: signal.Signals
) -> None:
    """With the same socket, the same directory of pins, and the same control group."""
    name = make_namespace()
    porter = hang(broker, server)
    with connect_as(USER, broker) as waiting:
        assert waiting.works(name)
        if end == signal.SIGTERM:
            broker.stop()
        else:
            broker.kill()
        broker.start()
    assert has_hanging_thread(porter)
    for uid in (OTHER_USER, USER):
        with connect_as(uid, broker) as client:
            assert client.works(name)
            with open(f"/run/netns/{name}") as namespace:
                assert isinstance(client.ask(tcp(0), [namespace.fileno()]), OpenReply)
    server.kill()
    wait_until(lambda: not os.path.exists(f"/proc/{porter}"))


def test_only_the_user_of_a_hanging_porter_is_refused(
    broker: BrokerProcess, server: FuseServer, make_namespace: Callable[..., str]
) -> None:
    """Only its requests with descriptors are. It is served again once its file system has ended."""
    name = make_namespace()
    hang(broker, server)
    assert as_unprivileged(_send, str(broker.socket_path), "/dev/null") == OVERLOADED
    with connect_as(USER, broker) as client:
        assert client.works(name)
        refusal = client.refusal(tcp(0), [0])
        assert "their file systems do not answer" in refusal.message
        assert client.has_hung_up()
    with connect_as(OTHER_USER, broker) as client:
        assert client.refusal(tcp(0), [0]).code == NO_SUCH_NAMESPACE
    server.kill()
    wait_until(lambda: as_unprivileged(_send, str(broker.socket_path), "/dev/null") == NO_SUCH_NAMESPACE)
