"""Names of namespaces: odd ones, half-made ones, deleted and made again, and those that are waited for."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import nsbroker
from nsbroker import SocketSpec
from nsbroker.wire import NO_SUCH_NAMESPACE, ErrorReply, OpenReply
from support import namespaces
from support.brokers.process import BrokerProcess, running
from support.brokers.raw_client import TCP, RawClient, netns_of, tcp
from support.inside import cookie_inside, netns_cookie, path_of
from support.namespaces import PREFIX

ANY_NAME = """
[[grant]]
name = "any name"
users = ["*"]
namespaces = ["*", "@host"]
sockets = ["tcp"]
"""
WAIT_S = 60


@pytest.fixture(scope="module")
def broker() -> Iterator[BrokerProcess]:
    if reason := namespaces.why_not():
        pytest.skip(reason)
    with running(ANY_NAME) as broker:
        yield broker


@pytest.fixture
def entry() -> Iterator[Path]:
    """A path in the directory of namespaces. The file that a test makes there is removed afterwards."""
    path = Path(path_of(f"{PREFIX}entry"))
    yield path
    subprocess.run(["umount", "-q", "-l", str(path)], check=False)
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def mount(namespace: str, path: Path) -> None:
    subprocess.run(["mount", "--bind", namespace, str(path)], check=True)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "/", "a/b", "/proc/self/ns/net", "{}\0", "\0", "@", "@own", "@{}", "x" * 256, "x" * 300, "é" * 128],
)
def test_what_cant_be_a_name_is_no_such_namespace(
    broker: BrokerProcess, make_namespace: Callable[..., str], name: str
) -> None:
    with RawClient(broker) as client:
        refusal = client.refusal(tcp("@host", name.format(make_namespace())))
        assert (refusal.code, refusal.spec_index) == (NO_SUCH_NAMESPACE, 1)
        assert client.works(make_namespace())


def test_no_name_leads_out_of_the_directory(broker: BrokerProcess, make_namespace: Callable[..., str]) -> None:
    """There is a real namespace at the end of each of these paths."""
    inside, outside = make_namespace(), broker.directory / "namespace"
    outside.touch()
    mount(path_of(inside), outside)
    try:
        with RawClient(broker) as client:
            for name in (f"../..{outside}", str(outside), f"../netns/{inside}", f"./{inside}", f"{inside}/"):
                assert client.refusal(tcp(name)).code == NO_SUCH_NAMESPACE
            assert client.works(inside)
    finally:
        subprocess.run(["umount", str(outside)], check=True)


def _no_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


NO_NAMESPACES: dict[str, Callable[[Path], object]] = {
    "a file": lambda path: path.write_text("blue"),
    "half-made": lambda path: path.touch(mode=0),
    "a directory": Path.mkdir,
    "a pipe": os.mkfifo,
    "a Unix socket": _no_socket,
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a link to itself": lambda path: path.symlink_to(path),
    "a link to a file": lambda path: path.symlink_to("/etc/passwd"),
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a pid namespace": lambda path: (path.touch(), mount("/proc/self/ns/pid", path)),
}


@pytest.mark.parametrize("make", NO_NAMESPACES.values(), ids=NO_NAMESPACES)
def test_entry_that_is_no_network_namespace_is_no_such_namespace(
    broker: BrokerProcess, entry: Path, make: Callable[[Path], object]
) -> None:
    make(entry)
    with RawClient(broker) as client:
        assert client.refusal(tcp(entry.name)).code == NO_SUCH_NAMESPACE
    assert broker.audit()[-1]["code"] == NO_SUCH_NAMESPACE


def test_entry_whose_name_begins_with_an_at_sign_is_never_entered(broker: BrokerProcess) -> None:
    """Else it could pass for one of the special namespaces."""
    name = f"@{PREFIX}"
    namespaces.make(name)
    try:
        with RawClient(broker) as client:
            assert client.refusal(tcp(name)).code == NO_SUCH_NAMESPACE
    finally:
        namespaces.delete(name)


def test_entry_whose_name_is_no_text_harms_nobody(broker: BrokerProcess) -> None:
    """It can't be asked for, and a list of all namespaces does without it."""
    name = os.fsencode(PREFIX) + b"\xff"
    subprocess.run([b"ip", b"netns", b"add", name], check=True)
    try:
        with nsbroker.Client(str(broker.socket_path)) as client:
            listed = {listed for listed, _ in client.namespaces().namespaces}
            assert not listed & {PREFIX, os.fsdecode(name), name.decode(errors="replace")}
            assert "@host" in listed
            client.open([SocketSpec("@host", *TCP)])[0].close()
    finally:
        subprocess.run([b"ip", b"netns", b"delete", name], check=True)


def test_name_means_the_namespace_that_has_it_now(broker: BrokerProcess, make_namespace: Callable[..., str]) -> None:
    """Deleted and made again, while sockets keep the old ones alive: never one of those."""
    name = make_namespace()
    with RawClient(broker) as client:
        for _ in range(5):
            reply = client.ask(tcp(name, name))
            assert isinstance(reply, OpenReply)
            assert set(netns_of(reply)) == {cookie_inside(name)}
            namespaces.delete(name)
            assert client.ask(tcp(name)) == ErrorReply(
                1, NO_SUCH_NAMESPACE, f"there is no network namespace {name!r}", None, 0
            )
            namespaces.make(name)
        sockets = [socket.socket(fileno=os.dup(fd)) for fd in client.fds]
        assert len({netns_cookie(sock) for sock in sockets}) == 5
        for sock in sockets:
            sock.close()
