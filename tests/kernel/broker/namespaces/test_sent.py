"""Namespaces that a client sends as descriptors: the policy knows them by the names that they have at that time."""

from __future__ import annotations

import os
import select
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import nsbroker
from nsbroker import SocketSpec
from nsbroker.link import fdpass
from nsbrokerd.clients.porter_process import is_network_namespace
from support import fuse_server, namespaces
from support.brokers.process import BrokerProcess
from support.fuse_server import FuseServer
from support.inside import cookie_here, cookie_inside, netns_cookie, path_of
from support.namespaces import PREFIX
from support.resident import CLONE_NEWNET, CLONE_NEWUSER, move_into_new, resident
from support.users import GROUP, OTHER_USER, USER, as_unprivileged, as_user, start_as_user

TCP = (socket.AF_INET, socket.SOCK_STREAM)
PATIENCE_S = 20
"""For a call that would wait forever."""

GRANTS = f"""
[[grant]]
name = "some"
users = ["*"]
namespaces = ["{PREFIX}allowed*", "@own"]
sockets = ["tcp"]
"""


@pytest.fixture
def broker(start_broker: Callable[..., BrokerProcess]) -> BrokerProcess:
    return start_broker(GRANTS)


@pytest.fixture
def alias() -> Iterator[Path]:
    """A path for a further name, which goes away with the test."""
    path = Path(path_of(f"{PREFIX}allowed-alias"))
    yield path
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        namespaces.delete(path.name)


def _ask(broker: BrokerProcess, *namespace: str | int) -> list[int]:
    """Ask for a socket in each namespace, and return the cookies of the sockets' namespaces."""
    with nsbroker.Client(str(broker.socket_path)) as client:
        sockets = client.open([SocketSpec(one, *TCP) for one in namespace])
        cookies = [netns_cookie(sock) for sock in sockets]
        for sock in sockets:
            sock.close()
    return cookies


def _ask_by_descriptor(broker: BrokerProcess, *paths: str) -> list[int]:
    return _ask(broker, *(os.open(path, os.O_RDONLY) for path in paths))


def _audited(broker: BrokerProcess) -> list[tuple[Any, ...]]:
    return [(record["outcome"], record.get("namespace"), record.get("netns")) for record in broker.audit()]


@pytest.mark.parametrize("ask", [_ask, _ask_by_descriptor], ids=["path", "descriptor"])
def test_namespace_of_an_allowed_name_is_allowed(
    make_namespace: Callable[..., str], broker: BrokerProcess, ask: Callable[..., list[int]]
) -> None:
    """By its path or descriptor it is the same one as by its name, and the audit says how it came."""
    name = make_namespace("allowed")
    cookie = cookie_inside(name)
    assert as_unprivileged(ask, broker, path_of(name)) == [cookie]
    assert _audited(broker) == [("allowed", f"descriptor:{name}", cookie)]


def test_namespace_of_a_process_is_known_by_its_name(make_namespace: Callable[..., str], broker: BrokerProcess) -> None:
    """/proc/PID/ns/net stands for the name of the process's namespace."""
    name = make_namespace("allowed")
    with resident(USER, GROUP, path_of(name)) as pid:
        assert as_unprivileged(_ask, broker, f"/proc/{pid}/ns/net") == [cookie_inside(name)]
    assert _audited(broker) == [("allowed", f"descriptor:{name}", cookie_inside(name))]


def test_symlink_is_a_name(make_namespace: Callable[..., str], broker: BrokerProcess, alias: Path) -> None:
    """If no grant covers a namespace's own name, a granted symbolic link to it suffices."""
    name = make_namespace("other")
    alias.symlink_to(path_of(name))
    assert as_unprivileged(_ask_by_descriptor, broker, path_of(name)) == [cookie_inside(name)]
    assert as_unprivileged(_ask, broker, alias.name) == [cookie_inside(name)]


def test_bind_mount_is_a_name(make_namespace: Callable[..., str], broker: BrokerProcess, alias: Path) -> None:
    """A second name is as good as the first, from the moment on that it is mounted."""
    name = make_namespace("other")
    with pytest.raises(nsbroker.AccessDeniedError):
        as_unprivileged(_ask_by_descriptor, broker, path_of(name))
    alias.touch()
    subprocess.run(["mount", "--bind", path_of(name), alias], check=True)
    assert as_unprivileged(_ask_by_descriptor, broker, path_of(name)) == [cookie_inside(name)]
    outcomes = _audited(broker)
    assert [outcome for outcome, _, _ in outcomes] == ["denied", "allowed"]
    assert {*outcomes[1][1].removeprefix("descriptor:").split("=")} == {name, alias.name}


def test_namespace_without_an_allowed_name_is_denied(make_namespace: Callable[..., str], broker: BrokerProcess) -> None:
    """An unnamed namespace, and one whose name no grant covers. Both are refused to root too."""
    name = make_namespace("other")
    with resident(USER, GROUP, None) as pid:
        for uid in (USER, 0):
            with pytest.raises(nsbroker.AccessDeniedError, match="has no name"):
                as_user(uid, GROUP, _ask, broker, f"/proc/{pid}/ns/net")
            with pytest.raises(nsbroker.AccessDeniedError, match=name):
                as_user(uid, GROUP, _ask_by_descriptor, broker, path_of(name))
    assert _audited(broker) == [("denied", "descriptor:", None), ("denied", f"descriptor:{name}", None)] * 2


def test_old_descriptor_is_not_the_namespace_that_has_the_name_now(
    make_namespace: Callable[..., str], broker: BrokerProcess
) -> None:
    """Deleted and made again under the same name: a descriptor of the old one is denied, of the new one it works."""
    name = make_namespace("allowed")
    for _ in range(10):
        old = os.open(path_of(name), os.O_RDONLY)
        cookie = cookie_inside(name)
        assert as_unprivileged(_ask, broker, old) == [cookie]
        namespaces.delete(name)
        namespaces.make(name)
        with pytest.raises(nsbroker.AccessDeniedError):
            as_unprivileged(_ask, broker, old)
        assert as_unprivileged(_ask_by_descriptor, broker, path_of(name)) == [cookie_inside(name)] != [cookie]
        os.close(old)


def test_link_that_leads_elsewhere_now_is_no_name(
    make_namespace: Callable[..., str], broker: BrokerProcess, alias: Path
) -> None:
    """Nothing is mounted when a link changes: what the broker knew by it is looked at again."""
    first, second = make_namespace("first"), make_namespace("second")
    alias.symlink_to(path_of(first))
    with open(path_of(first)) as old:
        assert as_unprivileged(_ask, broker, old.fileno()) == [cookie_inside(first)]
        alias.unlink()
        alias.symlink_to(path_of(second))
        with pytest.raises(nsbroker.AccessDeniedError):
            as_unprivileged(_ask, broker, old.fileno())


def test_descriptors_and_names_go_into_one_batch(make_namespace: Callable[..., str], broker: BrokerProcess) -> None:
    """Each socket of a batch is where it was asked for, also with more descriptors than one request can bring."""
    names = [make_namespace(f"allowed{i}") for i in range(20)]
    cookies = [cookie_inside(name) for name in names]
    paths = [path_of(name) for name in names]
    cookies_of_all = [*cookies, *cookies[::-1], *cookies, *cookies]
    assert as_unprivileged(_ask, broker, *names, *paths[::-1], *paths, *names) == cookies_of_all


def _make_own(connection: socket.socket) -> int:
    """Make a namespace, send its descriptor, and return its cookie."""
    move_into_new(CLONE_NEWUSER | CLONE_NEWNET)
    fdpass.lend_packet(connection, b"x", [os.open("/proc/self/ns/net", os.O_RDONLY)])
    return cookie_here()


def test_own_namespace_is_its_owners_alone(make_namespace: Callable[..., str], broker: BrokerProcess) -> None:
    """@own is a namespace that the user made. Root gets no socket there, and has no namespace of that name itself."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        cookie = as_user(USER, GROUP, _make_own, theirs)
        _, (fd,) = fdpass.take_packet(ours, 1, 1)
    assert as_user(USER, GROUP, _ask, broker, fd) == [cookie]
    for uid in (OTHER_USER, 0):
        with pytest.raises(nsbroker.AccessDeniedError):
            as_user(uid, GROUP, _ask, broker, fd)
    with pytest.raises(nsbroker.AccessDeniedError):
        as_user(0, GROUP, _ask_by_descriptor, broker, path_of(make_namespace("other")))
    os.close(fd)
    assert _audited(broker)[0] == ("allowed", "descriptor:@own", cookie)


@pytest.mark.skipif(fuse_server.why_not() is not None, reason=str(fuse_server.why_not()))
def test_file_system_of_a_descriptor_is_never_asked(broker: BrokerProcess) -> None:
    """A client's own would never answer. This one lets every user in, as one of root's can."""
    directory = broker.directory / "fuse"
    directory.mkdir()
    nsfs = os.stat("/proc/self/ns/net").st_dev
    with FuseServer(directory, USER, GROUP, ",allow_other") as server:
        fd = os.open(server.path, os.O_RDONLY)
        # In a process of its own, since a call that hangs holds the interpreter's lock, and ends by no signal.
        child = start_as_user(0, 0, is_network_namespace, fd, nsfs)
        try:
            is_answered = select.select([child.results], [], [], PATIENCE_S)[0] != []
        finally:
            server.kill()
            with suppress(OSError):
                os.close(fd)
        assert is_answered
        assert child.result() is False
