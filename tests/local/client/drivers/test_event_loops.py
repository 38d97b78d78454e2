"""The clients for event loops never block the loop, and clean up when they are cancelled."""

from __future__ import annotations

import errno
import os
import signal
import socket
import time
from contextlib import closing

import anyio
import anyio.lowlevel
import pytest

import nsbroker.link.broker
from nsbroker import AccessDeniedError, BrokerUnavailableError, Client, SocketSpec, wire
from nsbroker.drivers.base import BaseAsyncClient
from nsbroker.drivers.thread import _poll
from nsbroker.link.broker import Broker, plain_socket
from support.adapters.loops import LOOPS, Loop, on, start_each, while_ticking
from support.brokers.fake import FakeBroker, Visit, descriptors, die, fake_broker, honest

TCP = SocketSpec("blue", socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
UDP = SocketSpec("blue", socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
WAIT_S = 0.3


@pytest.fixture(scope="module", autouse=True)
def _loops_have_what_they_keep() -> None:
    start_each()


def close(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


@on(*LOOPS)
def test_sockets_come_as_they_were_asked_for(loop: Loop, broker: FakeBroker) -> None:
    """Plain ones, that do not block, over several packets."""

    async def ask() -> None:
        async with loop.client(broker.path) as client:
            sockets = await client.open([TCP] * 300 + [UDP])
            assert {type(sock) for sock in sockets} == {socket.socket}
            assert [sock.type for sock in sockets] == [socket.SOCK_STREAM] * 300 + [socket.SOCK_DGRAM]
            assert not any(os.get_blocking(sock.fileno()) for sock in sockets)
            close(sockets)

    before = descriptors(first=True)
    loop.run(ask)
    assert descriptors() == before


@on(*LOOPS)
def test_namespaces_are_listed(loop: Loop, broker: FakeBroker) -> None:
    async def ask() -> wire.NamespaceList:
        async with loop.client(broker.path) as client:
            return await client.namespaces()

    assert loop.run(ask) == Client(broker.path).namespaces()


@on(*LOOPS)
def test_refusal_is_raised_and_the_connection_kept(loop: Loop) -> None:
    def refuse_first(visit: Visit) -> None:
        if visit.number == 1:
            visit.fail(wire.DENIED, index=0, message="no grant has tcp in blue")
        else:
            visit.grant()

    async def ask(path: str) -> None:
        async with loop.client(path) as client:
            with pytest.raises(AccessDeniedError, match="no grant has tcp in blue"):
                await client.open([TCP])
            close(await client.open([TCP]))

    with fake_broker(refuse_first) as broker:
        loop.run(ask, broker.path)
        assert [line.split()[0] for line in broker.seen()] == ["1", "2"]


@on(*LOOPS)
def test_stopped_broker_never_blocks_the_loop(loop: Loop, broker: FakeBroker) -> None:
    """The wait ends by its timeout, and the loop turns all the while."""

    async def ask() -> None:
        client = loop.client(broker.path, timeout=WAIT_S)
        with pytest.raises(BrokerUnavailableError, match="did not answer") as caught:
            await client.open([TCP])
        assert caught.value.errno == errno.ETIMEDOUT

    async def both() -> None:
        begin = time.monotonic()
        ticker = await while_ticking(ask)
        assert time.monotonic() - begin >= WAIT_S
        ticker.assert_never_blocked()

    os.kill(broker.pid, signal.SIGSTOP)
    before = descriptors(first=True)
    loop.run(both)
    assert descriptors() == before


@on(*LOOPS)
def test_full_backlog_never_blocks_the_loop(loop: Loop) -> None:
    """EAGAIN from connect(2) is tried again until the timeout. An event loop's own connect would report success."""

    async def ask() -> None:
        client = loop.client(broker.path, timeout=WAIT_S)
        with pytest.raises(BrokerUnavailableError, match="did not answer"):
            await client.open([TCP])

    async def both() -> None:
        (await while_ticking(ask)).assert_never_blocked()

    with closing(FakeBroker(backlog=0)) as broker, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as first:
        first.connect(broker.path)
        before = descriptors(first=True)
        loop.run(both)
        assert descriptors() == before


@on(*LOOPS)
def test_room_in_the_backlog_is_found(loop: Loop) -> None:
    """The broker comes to it while a task waits."""
    with closing(FakeBroker(backlog=0)) as broker, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as first:
        first.connect(broker.path)

        async def ask() -> None:
            async with loop.client(broker.path) as client, anyio.create_task_group() as group:
                group.start_soon(open_and_close, client)
                await anyio.lowlevel.checkpoint()
                broker.start()

        async def open_and_close(client: BaseAsyncClient) -> None:
            close(await client.open([TCP]))

        loop.run(ask)
        assert broker.seen() == ["1 1 0"]


@on(*LOOPS)
def test_cancelled_call_leaves_nothing_open(loop: Loop, broker: FakeBroker) -> None:
    """Wherever it is: before it connected, before or after its first packet, or when it is done."""
    ended = []

    async def cancel_after(turns: int) -> None:
        async with loop.client(broker.path) as client, anyio.create_task_group() as group:
            group.start_soon(ask, client)
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()

    async def ask(client: BaseAsyncClient) -> None:
        try:
            close(await client.open([TCP] * 300))
        finally:
            ended.append(client)

    before = descriptors(first=True)
    for turns in (*range(15), 100, 1000, 5000):
        loop.run(cancel_after, turns)
        assert descriptors() == before
    assert len(ended) >= 15


def test_call_that_is_dropped_at_any_wait_leaves_nothing_open(broker: FakeBroker) -> None:
    """Each wait of a batch of three packets, is cancelled in turn, and the received descriptors are closed."""
    client = Broker(broker.path, 5)
    before = descriptors(first=True)
    for waits in range(100):
        call = client.open(plain_socket, [TCP] * 600, 0)
        try:
            wait = call.send(None)
            for _ in range(waits):
                wait = call.send(_poll(*wait))
        except StopIteration as end:
            close(end.value)
            break
        call.close()
        client.close()
        assert descriptors() == before
    assert waits >= 3
    client.close()
    assert descriptors() == before


@on(*LOOPS)
def test_tasks_get_their_own_answers(loop: Loop, broker: FakeBroker) -> None:
    """Two calls at once never share a connection."""
    wrong: list[object] = []

    async def ask(client: BaseAsyncClient, spec: SocketSpec, kind: int) -> None:
        for _ in range(20):
            sockets = await client.open([spec] * 3)
            wrong.extend(sock for sock in sockets if sock.type != kind)
            close(sockets)

    async def both() -> None:
        async with loop.client(broker.path) as client, anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(ask, client, TCP, socket.SOCK_STREAM)
                group.start_soon(ask, client, UDP, socket.SOCK_DGRAM)

    before = descriptors(first=True)
    loop.run(both)
    assert wrong == []
    assert descriptors() == before


@on(*LOOPS)
def test_restarted_broker_is_asked_again(loop: Loop, broker: FakeBroker) -> None:
    """It works in one loop after another, with the connection that the first one left."""
    client = loop.client(broker.path)

    async def ask() -> None:
        close(await client.open([TCP]))

    loop.run(ask)
    loop.run(ask)
    broker.kill()
    broker.start()
    loop.run(ask)
    client.close()
    assert [line.split()[0] for line in broker.seen()] == ["1", "2", "1"]


@on(*LOOPS)
def test_request_is_asked_again_when_its_broker_died(
    loop: Loop, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.kill()
    broker.script = die
    broker.start()

    async def restart(attempts: int, deadline: float) -> None:
        broker.kill()
        broker.script = honest
        broker.start()

    async def ask() -> None:
        async with loop.client(broker.path) as client:
            close(await client.open([TCP]))

    monkeypatch.setattr(nsbroker.link.broker, "_pause", restart)
    before = descriptors(first=True)
    loop.run(ask)
    assert broker.seen() == ["1 1 0", "1 1 0"]
    assert descriptors() == before


@on(*LOOPS)
def test_missing_broker_fails_at_once(loop: Loop, tmp_path: object) -> None:
    async def ask() -> None:
        with pytest.raises(BrokerUnavailableError, match="start nsbrokerd"):
            await loop.client(f"{tmp_path}/none", timeout=3600).open([TCP])

    loop.run(ask)


def test_client_of_threads_lends_its_connections(broker: FakeBroker) -> None:
    """One way to the broker, whoever waits."""
    loop = LOOPS[0]
    with Client(broker.path) as client:
        close(client.open([TCP]))

        async def ask() -> None:
            close(await loop.client(client=client).open([TCP]))

        loop.run(ask)
        with pytest.raises(TypeError):
            loop.client(broker.path, client=client)
    assert [line.split()[0] for line in broker.seen()] == ["1", "2"]
