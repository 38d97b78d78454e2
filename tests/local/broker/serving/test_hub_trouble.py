"""The hub goes on when it lacks a resource for another client."""

from __future__ import annotations

import errno
import gc
import os
import resource
import select
import socket

import pytest
import trio

import nsbrokerd.clients.admission
from nsbrokerd.clients.admission import Admission
from nsbrokerd.clients.persons import Persons
from nsbrokerd.clients.quotas import Quotas
from nsbrokerd.serving.hub import Hub
from nsbrokerd.serving.rest import Rest
from support.brokers.fake_intake import FakeCloser, FakeIntake, connect


class NoMoreWatches:
    """In place of an epoll, when others have all that root may have."""

    def __init__(self, epoll: select.epoll) -> None:
        self.poll, self.modify, self.unregister = epoll.poll, epoll.modify, epoll.unregister
        self.fileno, self.close = epoll.fileno, epoll.close

    def register(self, _fd: int, _events: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class NoDescriptors:
    """In place of a listener: no descriptor is left for a while."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener: socket.socket | None = listener
        self.fileno, self.setblocking, self.listen = listener.fileno, listener.setblocking, listener.listen
        self.failures = 0

    def _accept(self) -> tuple[int, object]:
        assert self._listener is not None
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return self._listener._accept()  # type: ignore[attr-defined,no-any-return]  # accept() of the C class


def test_hub_that_paused_accepts_again_though_there_is_no_other_watch(listener: socket.socket) -> None:
    """It keeps the one of its listener."""
    intake = FakeIntake()
    without = NoDescriptors(listener)
    hub = Hub(without, intake, FakeCloser(), Quotas())  # type: ignore[arg-type]  # a fake
    with connect(listener) as first, connect(listener) as second:
        hub._accept(0)
        without.failures = 3
        hub._accept(0)
        assert hub._rest.is_on
        hub._epoll = NoMoreWatches(hub._epoll)  # type: ignore[assignment]  # a fake
        second.send(b"x")

        async def serve() -> None:
            with intake.scope, trio.fail_after(60):
                await hub.run()

        trio.run(serve)
        assert first.send(b"x")  # connected clients stay
        hub.finish()


def test_client_that_can_not_be_watched_leaves_no_descriptor(listener: socket.socket) -> None:
    hub = Hub(listener, FakeIntake(), FakeCloser(), Quotas())  # type: ignore[arg-type]  # a fake
    hub._epoll = NoMoreWatches(hub._epoll)  # type: ignore[assignment]  # a fake
    gc.disable()
    try:
        with connect(listener) as client:
            before = len(os.listdir("/proc/self/fd"))
            hub._accept(0)
            assert client.recv(1) == b""
            assert len(os.listdir("/proc/self/fd")) == before
            assert hub._rest.is_on
    finally:
        gc.enable()
    hub.finish()


def test_client_that_is_lost_while_it_connects_is_not_counted(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(*_: object) -> None:
        raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))

    persons = Persons(Quotas())
    admission = Admission(listener, persons, FakeCloser())  # type: ignore[arg-type]  # a fake
    monkeypatch.setattr(nsbrokerd.clients.admission, "Client", lose)
    with connect(listener) as client:
        assert admission.accept(0)[0] == []
        assert client.recv(1) == b""
    assert persons.clients == 0


def test_places_of_users_are_counted_where_descriptors_are_few(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each client takes two descriptors, and each user another: of seven that are left, two stay for a new user."""
    room = nsbrokerd.clients.admission.DESCRIPTORS_BESIDE_CLIENTS + 7
    monkeypatch.setattr(nsbrokerd.clients.admission.resource, "getrlimit", lambda _: (room, room))
    persons = Persons(Quotas())
    admission = Admission(listener, persons, FakeCloser())  # type: ignore[arg-type]  # a fake
    clients = [connect(listener) for _ in range(5)]
    admitted, trouble = admission.accept(0)
    assert trouble is None
    assert (persons.clients, persons.connected, len(admitted)) == (2, 1, 2)
    for client in [*clients, *(one.sock for one in admitted)]:
        client.close()


def test_listener_rests_when_admission_says_so(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Very many connections hang."""
    monkeypatch.setattr("nsbrokerd.clients.admission._SLOW_REST_S", 3600)
    closer = FakeCloser()
    closer.connections = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    hub = Hub(listener, FakeIntake(), closer, Quotas())  # type: ignore[arg-type]  # fakes
    with select.epoll() as epoll:
        times_s: list[float] = []
        hub._rest = Rest(epoll, listener.fileno(), times_s.append)
        epoll.register(listener.fileno(), select.EPOLLIN)
        with connect(listener):
            hub._accept(0)
        hub.finish()
    assert times_s == [3600]
