"""The control socket holds up nobody: not by slow readers, many connections, odd packets, or many questions."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from nsbroker.link.fdpass import lend_packet
from nsbrokerd.clients.closer import Closer
from nsbrokerd.clients.persons import Persons
from nsbrokerd.clients.quotas import Quotas
from nsbrokerd.control import server
from nsbrokerd.control.packets import ERROR, MAX_REPLY_BYTES, MAX_REQUEST_BYTES, Fields, decode_reply
from nsbrokerd.control.server import CONNECTIONS_OF_USER, CONNECTIONS_OF_USERS, KEPT_S, ControlServer

CLOSERS: list[Closer] = []


@pytest.fixture(autouse=True)
def _closers_end() -> Iterator[None]:
    """Only after the server's tasks, which still hang up."""
    yield
    while CLOSERS:
        CLOSERS.pop().finish()


class FakeBroker:
    """Counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.size = 0

    def status(self, *, is_short: bool) -> Fields:
        self.asked.append("short" if is_short else "status")
        return {"number": len(self.asked), "text": "" if is_short else "x" * self.size}

    def reload(self) -> Fields:
        self.asked.append("reload")
        return {"grants": 1}

    def sockets(self, after: int) -> Fields:
        self.asked.append(f"sockets {after}")
        return {"sockets": []}


class Running:
    """A server, and clients of it. `uid` is the user that the kernel reports."""

    def __init__(self, path: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
        self.uid = 0
        self.now = 0.0
        self.broker = FakeBroker()
        self._stack = ExitStack()
        self._path = str(path)
        listener = self._stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        listener.bind(self._path)
        listener.listen()
        monkeypatch.setattr(server, "read_uid", lambda _connection: self.uid)
        CLOSERS.append(Closer())
        self.server = ControlServer(listener, Persons(Quotas()), CLOSERS[-1], self.broker, lambda: self.now)
        nursery.start_soon(self.server.run)

    def connect(self) -> socket.socket:
        client = self._stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        client.setblocking(False)
        client.connect(self._path)
        return client

    async def ask(self, packet: bytes) -> Fields | None:
        """Return the reply, or None if the server hung up."""
        with self.connect() as client:
            client.send(packet)
            return await receive(client)

    def close(self) -> None:
        self._stack.close()


async def receive(client: socket.socket) -> Fields | None:
    with trio.fail_after(60):
        await trio.lowlevel.wait_readable(client)
    try:
        packet = client.recv(MAX_REPLY_BYTES)
    except ConnectionResetError:
        return None
    return decode_reply(packet) if packet else None


@contextmanager
def closing(running: Running, nursery: trio.Nursery) -> Iterator[Running]:
    try:
        yield running
    finally:
        nursery.cancel_scope.cancel()
        running.close()


async def test_each_word_has_its_reply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with trio.open_nursery() as nursery:
        with closing(Running(tmp_path / "c", nursery, monkeypatch), nursery) as running:
            assert await running.ask(b"status") == {"number": 1, "text": ""}
            assert await running.ask(b"reload") == {"grants": 1}
            assert await running.ask(b"sockets 12") == {"sockets": []}
            assert running.broker.asked == ["status", "reload", "sockets 12"]


async def test_only_root_asks_twice_over_a_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For others, the pause between connections bounds their questions."""
    async with trio.open_nursery() as nursery:
        with closing(Running(tmp_path / "c", nursery, monkeypatch), nursery) as running:
            for uid in (0, 1000):
                running.uid = uid
                with running.connect() as client:
                    client.send(b"sockets 0" if uid == 0 else b"status")
                    assert await receive(client) is not None
                    client.send(b"sockets 1" if uid == 0 else b"status")
                    assert (await receive(client) is not None) is (uid == 0)
            assert running.broker.asked == ["sockets 0", "sockets 1", "status"]


async def test_status_after_a_reload_is_a_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with trio.open_nursery() as nursery:
        with closing(Running(tmp_path / "c", nursery, monkeypatch), nursery) as running:
            for _ in range(2):
                await running.ask(b"status")
                await running.ask(b"reload")
            assert running.broker.asked == ["status", "reload", "status", "reload"]


async def test_only_root_may_change_something(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with trio.open_nursery() as nursery:
        with closing(Running(tmp_path / "c", nursery, monkeypatch), nursery) as running:
            running.uid = 1000
            for packet in (b"reload", b"sockets 0"):
                reply = await running.ask(packet)
                assert reply is not None
                assert "only root may ask" in reply[ERROR]
            assert await running.ask(b"status") is not None
            assert running.broker.asked == ["status"]


async def test_unknown_packets_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also packets with descriptors, which are closed."""
    async with trio.open_nursery() as nursery:
        with closing(Running(tmp_path / "c", nursery, monkeypatch), nursery) as running:
            for packet in (b"stop", b"status 1", b"x" * (MAX_REQUEST_BYTES + 1), b"reload" + b" " * 9000, b"\xff"):
                reply = await running.ask(packet)
                assert reply is not None
                assert reply[ERROR].startswith("unknown request")
                while running.server._connections:
                    await trio.sleep(0.01)
            client = running.connect()
            reader, writer = os.pipe()
            lend_packet(client, b"reload", [writer])
            os.close(writer)
            reply = await receive(client)
            assert reply is not None
            assert reply[ERROR].startswith("unknown request")
            with trio.fail_after(60):
                await trio.to_thread.run_sync(os.read, reader, 1)  # the end: nobody holds the writer any more
            os.close(reader)
            assert running.broker.asked == []


async def test_status_is_made_once_for_all_who_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with trio.open_nursery() as nursery:
        with closing(Running(tmp_path / "c", nursery, monkeypatch), nursery) as running:
            for _ in range(20):
                reply = await running.ask(b"status")
                assert reply is not None
                assert reply["number"] == 1
            running.now += KEPT_S
            assert await running.ask(b"status") == {"number": 2, "text": ""}


async def test_status_that_is_too_long_has_no_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with trio.open_nursery() as nursery:
        with closing(Running(tmp_path / "c", nursery, monkeypatch), nursery) as running:
            running.broker.size = MAX_REPLY_BYTES - 100
            reply = await running.ask(b"status")
            assert reply is not None
            assert len(reply["text"]) == running.broker.size
            running.now += KEPT_S
            running.broker.size = MAX_REPLY_BYTES
            assert await running.ask(b"status") == {"number": 3, "text": ""}
            assert running.broker.asked == ["status", "status", "short"]


async def test_user_who_reads_no_replies_holds_up_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connections count until their replies are read, so that unread replies can't pile up."""
    async with trio.open_nursery() as nursery:
        with closing(Running(tmp_path / "c", nursery, monkeypatch), nursery) as running:
            running.uid = 1000
            unread = [running.connect() for _ in range(CONNECTIONS_OF_USER)]
            for client in unread:
                client.send(b"status")
                with trio.fail_after(60):
                    await trio.lowlevel.wait_readable(client)
            assert await running.ask(b"status") is None
            running.uid = 1001
            assert await running.ask(b"status") is not None
            running.uid = 1000
            for client in unread:
                client.close()
            with trio.fail_after(60):
                while running.server._connections[1000]:
                    await trio.sleep(0.01)
            assert await running.ask(b"status") is not None


async def test_root_is_served_however_many_others_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with trio.open_nursery() as nursery:
        with closing(Running(tmp_path / "c", nursery, monkeypatch), nursery) as running:
            kept = []
            for number in range(CONNECTIONS_OF_USERS):
                running.uid = 1000 + number
                kept.append(running.connect())
                with trio.fail_after(60):
                    while running.server._connections.total() <= number:
                        await trio.sleep(0.001)
            running.uid = 2000
            assert await running.ask(b"status") is None
            running.uid = 0
            assert await running.ask(b"status") is not None


async def test_connection_without_a_request_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        with closing(Running(tmp_path / "c", nursery, monkeypatch), nursery) as running:
            assert await receive(running.connect()) is None
            assert trio.current_time() <= 60


async def test_connections_are_accepted_a_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """So opening many of them takes little of the broker's time. The clock is the test's own."""
    async with trio.open_nursery() as nursery:
        with closing(Running(tmp_path / "c", nursery, monkeypatch), nursery) as running:
            began = trio.current_time()
            for _ in range(100):
                assert await running.ask(b"status") is not None
            assert trio.current_time() - began >= 100 / 200
