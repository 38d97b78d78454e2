"""Answers that clients hold: their memory is the broker's, so it is bounded."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from nsbroker.wire import OVERLOADED, BlobReply, ErrorReply, ResolverRequest
from nsbrokerd.requests.answers import MAX_HELD_BYTES, MAX_HELD_FOR_PERSON_BYTES
from nsbrokerd.requests.group_memory import find_group
from support.brokers.process import EVERYTHING, BrokerProcess
from support.brokers.raw_client import RawClient, connect_as
from support.own_etc import own_etc
from support.process_state import idle_descriptors
from support.users import OTHER_USER, UIDS, USER, as_unprivileged
from support.waiting import wait_until

LARGE = 2**20 - 2
"""Bytes of each of two files for look-ups, so an answer has 2 MB."""

MOST_FOR_PERSON = MAX_HELD_FOR_PERSON_BYTES // (2 * (LARGE + 2) + 8192)
NAMED = f'\n[[grant]]\nname = "named"\nusers = [{OTHER_USER}]\nnamespaces = ["@host"]\nsockets = ["tcp"]\n'


@pytest.fixture
def large(make_namespace: Callable[..., str]) -> Iterator[list[str]]:
    """Namespaces with large files, all of them different. One person may not hold the answers about all of them."""
    names = [make_namespace(f"large{number}") for number in range(MOST_FOR_PERSON + 1)]
    with own_etc() as etc:
        for number, name in enumerate(names):
            directory = etc / "netns" / name
            directory.mkdir(parents=True)
            for file in ("hosts", "resolv.conf"):
                (directory / file).write_bytes((b"# %7d\n" % number * LARGE)[:LARGE])
        yield names


def ask(client: RawClient, name: str) -> str | None:
    """Ask for the files of a namespace. Return the code of the refusal, or None if the client got an answer."""
    reply = client.ask(ResolverRequest(1, name))
    assert isinstance(reply, BlobReply | ErrorReply)
    return reply.code if isinstance(reply, ErrorReply) else None


def inodes(client: RawClient) -> set[int]:
    return {os.fstat(fd).st_ino for fd in client.fds}


def test_answers_that_a_client_holds_are_bounded(large: list[str], start_broker: Callable[..., BrokerProcess]) -> None:
    """It can hold the same answer as often as it likes, since this takes no more memory. Others still get theirs."""
    broker = start_broker()
    with (
        connect_as(USER, broker) as client,
        connect_as(USER, broker) as second,
        connect_as(OTHER_USER, broker) as other,
    ):
        assert other.works()
        before = idle_descriptors(broker.pid)
        assert [ask(client, large[0]) for _ in range(100)] == [None] * 100
        assert len(inodes(client)) == 1
        assert [ask(second, name) for name in large] == [None] * MOST_FOR_PERSON + [OVERLOADED]
        assert len(inodes(client) | inodes(second)) == MOST_FOR_PERSON
        assert ask(other, large[0]) is None
        assert inodes(other).isdisjoint(inodes(client))
        second.close_fds()
        assert ask(second, large[-1]) is None
        for one in (client, second, other):
            one.close_fds()
        wait_until(lambda: idle_descriptors(broker.pid) <= before + 2)  # the channels of two clients


def test_reconnecting_does_not_free_answers(large: list[str], start_broker: Callable[..., BrokerProcess]) -> None:
    broker = start_broker()
    with ExitStack() as stack:
        for name in large[:-1]:
            with connect_as(USER, broker) as client:
                assert ask(client, name) is None
                stack.callback(os.close, os.dup(client.fds[0]))
        with connect_as(USER, broker) as client:
            assert ask(client, large[-1]) == OVERLOADED


def _open_again(path: str, name: str) -> list[str]:
    """Try to open an answer anew, and to change it. Return the errors."""
    errors = []
    with RawClient(path) as client:
        assert ask(client, name) is None
        (fd,) = client.fds
        for change in (
            lambda: os.open(f"/proc/self/fd/{fd}", os.O_RDWR),
            lambda: os.open(f"/proc/self/fd/{fd}", os.O_RDONLY),
            lambda: os.fchmod(fd, 0o777),
            lambda: os.setxattr(fd, "user.x", b"1"),
            lambda: os.write(fd, b"x"),
        ):
            try:
                change()
            except OSError as error:
                errors.append(type(error).__name__)
    return errors


def test_clients_can_not_open_an_answer_again(broker: BrokerProcess) -> None:
    """So they can't watch other clients of their person read it (inotify), or attach anything to it."""
    errors = as_unprivileged(_open_again, str(broker.socket_path), "@host")
    assert errors[:3] == ["PermissionError"] * 3
    assert len(errors) == 5


@contextmanager
def own_memory_group(broker: BrokerProcess) -> Iterator[None]:
    """Move a broker to a control group of its own, as systemd does."""
    above = find_group()
    if above is None:
        pytest.skip("no control group counts the memory of this process")
    group = above.path / broker.directory.name
    group.mkdir()
    try:
        if not (group / "memory.stat").exists():
            pytest.skip("control groups below that of this process count no memory")
        (group / "cgroup.procs").write_text(str(broker.pid))
        yield
    finally:
        broker.stop()
        wait_until(lambda: _is_removed(group))


def _is_removed(group: Path) -> bool:
    with suppress(OSError):
        group.rmdir()
    return not group.exists()


def test_memory_that_clients_keep_unseen_is_bounded(
    large: list[str], start_broker: Callable[..., BrokerProcess]
) -> None:
    """They keep answers without having them open. A person that a grant names still gets answers."""
    broker = start_broker(EVERYTHING + NAMED)
    persons = MAX_HELD_BYTES // 2 // (MOST_FOR_PERSON * 2 * (LARGE + 2)) + 1
    with own_memory_group(broker), ExitStack() as stack:
        kept = []
        for uid in UIDS[100 : 100 + persons]:
            with connect_as(uid, broker) as client:
                for name in large[:-1]:
                    if ask(client, name) is None:
                        kept.append(os.open(f"/proc/self/fd/{client.fds[-1]}", os.O_PATH))
                        client.close_fds()
        stranger = stack.enter_context(connect_as(UIDS[99], broker))
        named = stack.enter_context(connect_as(OTHER_USER, broker))
        assert ask(stranger, large[0]) == OVERLOADED
        assert ask(named, large[0]) is None
        for fd in kept:
            os.close(fd)
        wait_until(lambda: ask(stranger, large[0]) is None)
