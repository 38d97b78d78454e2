"""The proof of the namespace: after each entry, the broker checks where a socket is before it goes on."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

import nsbrokerd.namespaces.netns
from nsbroker.wire import SocketSpec
from nsbrokerd.clients.client import Person
from nsbrokerd.namespaces.netns import EXIT_STATUS, Gate, WrongNamespaceError
from nsbrokerd.policy import Grant, NamespaceRule
from nsbrokerd.policy.kinds import triple_of
from nsbrokerd.policy.plans import PlannedSocket
from nsbrokerd.sockets.batch import OpenGroup
from nsbrokerd.sockets.credentials import Credentials
from nsbrokerd.sockets.opener import Opener
from support.inside import cookie_here, cookie_inside, path_of
from support.users import ChildError, as_user

T = TypeVar("T")
TCP = (int(socket.AF_INET), int(socket.SOCK_STREAM))


class StayingGate(Gate):
    """A gate that never leaves its own namespace, as if setns(2) had done nothing."""

    def call_inside(self, _namespace_fd: int, make: Callable[[], T]) -> T:
        return make()


@pytest.fixture
def name(make_namespace: Callable[..., str]) -> str:
    return make_namespace("elsewhere")


@pytest.fixture(params=["id", "descriptor"])
def way_to_prove(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Whether the kernel can tell a namespace's id (Linux 6.18) or not, whatever this kernel can do."""
    elsewhere, here = os.stat(path_of(name)), cookie_here()
    there = cookie_inside(name)

    def namespace_id(fd: int) -> bytes | None:
        if request.param == "descriptor":
            return None
        return (there if os.path.samestat(os.fstat(fd), elsewhere) else here).to_bytes(8, "little")

    monkeypatch.setattr(nsbrokerd.namespaces.netns, "namespace_id", namespace_id)


@pytest.fixture
def elsewhere_fd(name: str) -> Iterator[int]:
    fd = os.open(path_of(name), os.O_RDONLY | os.O_CLOEXEC)
    yield fd
    os.close(fd)


@pytest.mark.usefixtures("way_to_prove")
def test_socket_of_another_namespace_is_never_taken_for_one_of_this(elsewhere_fd: int) -> None:
    gate = Gate()
    try:
        with socket.socket() as sock:
            with pytest.raises(WrongNamespaceError, match="entered"):
                gate.verify(elsewhere_fd, sock)
            assert gate.verify(gate.home_fd, sock).cookie == cookie_here()
        with gate.call_inside(elsewhere_fd, socket.socket) as sock:
            with pytest.raises(WrongNamespaceError, match="entered"):
                gate.verify(gate.home_fd, sock)
            assert gate.verify(elsewhere_fd, sock).cookie != cookie_here()
    finally:
        os.close(gate.home_fd)


def test_number_of_remembered_namespaces_is_bounded(
    make_namespace: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gate identifies each namespace correctly, also those that it had to forget."""
    monkeypatch.setattr(nsbrokerd.namespaces.netns, "_MAX_ENTERED", 2)
    names = [make_namespace(f"remembered{number}") for number in range(3)]
    gate = Gate()
    try:
        for name in (*names, *names):
            with open(path_of(name)) as there, gate.call_inside(there.fileno(), socket.socket) as sock:
                entered = gate.verify(there.fileno(), sock)
            status = os.stat(path_of(name))
            assert entered == (cookie_inside(name), status.st_dev, status.st_ino)
            assert len(gate._entered) <= 2
    finally:
        os.close(gate.home_fd)


@pytest.mark.usefixtures("way_to_prove")
def test_sockets_that_were_made_in_the_wrong_namespace_are_closed(elsewhere_fd: int, name: str) -> None:
    """The opener asks for the proof in each namespace, also when those before it were right."""
    grant = Grant("some", None, frozenset(), NamespaceRule.parse(["*"]), frozenset({"tcp"}))
    specs = SocketSpec("@host", *TCP), SocketSpec(name, *TCP)
    here, elsewhere = (
        PlannedSocket(position, str(spec.namespace), spec, triple_of(spec), "tcp", grant, False)
        for position, spec in enumerate(specs)
    )
    gate = StayingGate()
    before = os.listdir("/proc/self/fd")
    try:
        groups = [OpenGroup(gate.home_fd, [here]), OpenGroup(elsewhere_fd, [elsewhere])]
        with pytest.raises(WrongNamespaceError):
            Opener(gate, Credentials(), {}).open_sockets(groups, 0, 0, Person(0, 0, 1))
        assert os.listdir("/proc/self/fd") == before
    finally:
        os.close(gate.home_fd)


def test_only_socket_that_was_made_in_the_wrong_namespace_is_closed(elsewhere_fd: int, name: str) -> None:
    """A request for one plain socket takes a shorter way."""
    grant = Grant("some", None, frozenset(), NamespaceRule.parse(["*"]), frozenset({"tcp"}))
    spec = SocketSpec(name, *TCP)
    only = PlannedSocket(0, name, spec, triple_of(spec), "tcp", grant, False, is_plain=True)
    gate = StayingGate()
    before = os.listdir("/proc/self/fd")
    try:
        with pytest.raises(WrongNamespaceError):
            Opener(gate, Credentials(), {}).open_sockets([OpenGroup(elsewhere_fd, [only])], 0, 0, Person(0, 0, 1))
        assert os.listdir("/proc/self/fd") == before
    finally:
        os.close(gate.home_fd)


def _lose_the_way_back(namespace_fd: int) -> None:
    """Enter, and close the descriptor of the own namespace meanwhile: there is no way back."""
    gate = Gate()
    gate.call_inside(namespace_fd, lambda: os.close(gate.home_fd))


def test_process_ends_when_the_way_back_fails(elsewhere_fd: int) -> None:
    """At once, with a status of its own: nothing is done in the wrong namespace."""
    with pytest.raises(ChildError, match=f"status {EXIT_STATUS} "):
        as_user(0, 0, _lose_the_way_back, elsewhere_fd)
