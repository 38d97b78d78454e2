"""@own: an unnamed namespace that the client sends by descriptor, and whose user namespace it owns."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from nsbroker.wire import DENIED, NO_SUCH_NAMESPACE, OpenReply
from support.brokers.process import BrokerProcess
from support.brokers.raw_client import RawClient, connect_as, netns_of, tcp
from support.inside import cookie_here, enter, path_of
from support.resident import CLONE_NEWNET, CLONE_NEWUSER, move_into_new
from support.users import GROUP, OTHER_USER, USER, as_user

OWN = '[[grant]]\nname = "own"\nusers = ["*"]\nnamespaces = ["@own"]\nsockets = ["tcp"]\n'


def _move_into_own() -> None:
    move_into_new(CLONE_NEWUSER | CLONE_NEWNET)


def _send_own(sock: socket.socket, path: str) -> None:
    _move_into_own()
    fd = os.open(path, os.O_RDONLY) if path else os.pidfd_open(os.getpid())
    socket.send_fds(sock, [b"x"], [fd])


@contextmanager
def made_by(uid: int, path: str = "/proc/self/ns/net") -> Iterator[int]:
    """A descriptor of a namespace that this user made, in a user namespace of its own, or of another file there."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        as_user(uid, uid, _send_own, theirs, path)
        fd = socket.recv_fds(ours, 1, 1)[1][0]
    try:
        yield fd
    finally:
        os.close(fd)


@pytest.fixture
def broker(start_broker: Callable[..., BrokerProcess]) -> BrokerProcess:
    try:
        as_user(USER, USER, _move_into_own)
    except OSError as error:
        pytest.skip(f"users can't have namespaces of their own here: {error}")
    return start_broker(OWN)


def _cookie(fd: int) -> int:
    enter(fd)
    return cookie_here()


@pytest.mark.parametrize("uid", [USER, 0])
def test_own_namespace_is_accepted(broker: BrokerProcess, uid: int) -> None:
    """This holds for root too, if it made a user namespace. The socket is in that very namespace."""
    with made_by(uid) as namespace, connect_as(uid, broker) as client:
        reply = client.ask(tcp(0), [namespace])
        assert isinstance(reply, OpenReply), reply
        assert netns_of(reply)[0] == as_user(0, 0, _cookie, namespace)


def _ask_from_inside(path: str) -> bool:
    _move_into_own()
    with RawClient(path) as client, open("/proc/self/ns/net") as namespace:
        reply = client.ask(tcp(0), [namespace.fileno()])
        return isinstance(reply, OpenReply) and netns_of(reply)[0] == cookie_here()


def test_own_namespace_is_accepted_from_inside(broker: BrokerProcess) -> None:
    """Whoever lives there has no id there, but is known outside."""
    assert as_user(USER, USER, _ask_from_inside, str(broker.socket_path), groups=(GROUP,))


@pytest.mark.parametrize(("maker", "uid"), [(OTHER_USER, USER), (0, USER), (USER, 0)])
def test_namespace_of_another_user_is_denied(broker: BrokerProcess, maker: int, uid: int) -> None:
    """Root owns its own ones alone."""
    with made_by(maker) as namespace, connect_as(uid, broker) as client:
        assert client.refusal(tcp(0), [namespace]).code == DENIED


def test_namespace_of_the_user_without_an_id_is_denied(broker: BrokerProcess) -> None:
    """The overflow uid stands for all users without an id here."""
    with open("/proc/sys/kernel/overflowuid") as file:
        uid = int(file.read())
    with made_by(uid) as namespace, connect_as(uid, broker) as client:
        assert client.refusal(tcp(0), [namespace]).code == DENIED


@pytest.mark.parametrize("uid", [USER, 0])
def test_named_namespace_and_the_hosts_are_nobodys_own(
    broker: BrokerProcess, make_namespace: Callable[..., str], uid: int
) -> None:
    """They belong to the host's user namespace: root would own each of them."""
    with connect_as(uid, broker) as client:
        for path in (path_of(make_namespace()), "/proc/self/ns/net"):
            with open(path) as namespace:
                assert client.refusal(tcp(0), [namespace.fileno()]).code == DENIED


OTHER_FILES = {
    "the user namespace": "/proc/self/ns/user",
    "a mount namespace": "/proc/self/ns/mnt",
    "a pidfd of a process inside": "",
    "the directory of a process inside": "/proc/self",
    "the list of interfaces": "/proc/self/net/dev",
}


@pytest.mark.parametrize("path", OTHER_FILES.values(), ids=OTHER_FILES)
def test_other_file_of_an_own_namespace_does_not_stand_for_it(broker: BrokerProcess, path: str) -> None:
    """setns(2) would take some of these, and a user namespace has an owner as well."""
    with made_by(USER, path) as fd, connect_as(USER, broker) as client:
        assert client.refusal(tcp(0), [fd]).code == NO_SUCH_NAMESPACE


def test_own_is_no_name(broker: BrokerProcess) -> None:
    with connect_as(USER, broker) as client:
        assert client.refusal(tcp("@own")).code == NO_SUCH_NAMESPACE
