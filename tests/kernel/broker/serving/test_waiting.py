"""Requests that wait for a namespace which does not exist yet."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from nsbroker import Client
from nsbroker.wire import DENIED, NO_SUCH_NAMESPACE, OVERLOADED, ErrorReply
from nsbroker.wire.bounds import MAX_SENT_FDS
from nsbrokerd.requests.open import MAX_WAITING_FOR_USER
from nsbrokerd.serving.tasks import MAX_HELD_DESCRIPTORS
from support.brokers.process import EVERYTHING, BrokerProcess
from support.brokers.raw_client import RawClient, connect_as, netns_of, tcp
from support.inside import cookie_inside, path_of
from support.namespaces import PREFIX
from support.process_state import idle_descriptors
from support.users import OTHER_USER, UIDS, as_unprivileged
from support.waiting import wait_until

WAIT_S = 60
LATE = f"{PREFIX}late"


@pytest.fixture
def late() -> Iterator[Path]:
    """Where a namespace of the name LATE is, once a test has put it there."""
    path = Path(path_of(LATE))
    yield path
    subprocess.run(["umount", "-q", "-l", str(path)], check=False)
    path.unlink(missing_ok=True)


def test_request_waits_until_its_namespaces_exist(broker: BrokerProcess, make_namespace: Callable[..., str]) -> None:
    """All of them are answered, and meanwhile other requests on the same connection too."""
    there = make_namespace("there")
    with RawClient(broker) as client:
        client.send(tcp(there, LATE, f"{LATE}2", wait_s=WAIT_S))
        assert client.works()
        make_namespace("late2")
        assert client.works()
        make_namespace("late")
        names = (there, LATE, f"{LATE}2")
        assert netns_of(client.receive()) == [cookie_inside(name) for name in names]
    assert [record["outcome"] for record in broker.audit()] == ["allowed"] * 5


def test_half_made_namespace_is_waited_for(
    broker: BrokerProcess, make_namespace: Callable[..., str], late: Path
) -> None:
    """`ip netns add` makes a file of mode 0 first, and mounts the namespace there after."""
    other = make_namespace("other")
    late.touch(mode=0)
    with RawClient(broker) as client:
        client.send(tcp(LATE, wait_s=WAIT_S))
        assert client.works()
        subprocess.run(["mount", "--bind", path_of(other), str(late)], check=True)
        assert netns_of(client.receive()) == [cookie_inside(other)]


def test_link_to_a_namespace_is_waited_for(
    broker: BrokerProcess, make_namespace: Callable[..., str], late: Path
) -> None:
    """A symbolic link comes without a mount."""
    other = make_namespace("other")
    with RawClient(broker) as client:
        client.send(tcp(LATE, wait_s=WAIT_S))
        assert client.works()
        late.symlink_to(path_of(other))
        assert netns_of(client.receive()) == [cookie_inside(other)]


def test_wait_ends_without_a_namespace(broker: BrokerProcess) -> None:
    with RawClient(broker) as client:
        refusal = client.refusal(tcp("@host", LATE, wait_s=0.05))
        assert (refusal.code, refusal.spec_index) == (NO_SUCH_NAMESPACE, 1)
        assert client.works()


def test_what_is_denied_is_not_waited_for(start_broker: Callable[..., BrokerProcess]) -> None:
    broker = start_broker('[[grant]]\nname = "one"\nusers = ["*"]\nnamespaces = ["blue"]\nsockets = ["tcp"]\n')
    with RawClient(broker) as client:
        assert client.refusal(tcp(LATE, wait_s=WAIT_S)).code == DENIED


def test_third_request_of_a_user_that_waits_is_refused(
    broker: BrokerProcess, make_namespace: Callable[..., str]
) -> None:
    """At once, over all of its connections, while another user may wait."""
    with RawClient(broker) as first, RawClient(broker) as second:
        first.send(tcp(LATE, wait_s=WAIT_S))
        second.send(tcp(LATE, wait_s=WAIT_S, request_id=2))
        assert first.works()
        assert second.works()
        refusal = second.refusal(tcp(LATE, wait_s=WAIT_S, request_id=3))
        assert (refusal.code, refusal.request_id) == (OVERLOADED, 3)
        with Client(str(broker.socket_path)) as asking:
            assert "@host" in dict(asking.namespaces().namespaces)
        assert as_unprivileged(_code, str(broker.socket_path), 0.05) == NO_SUCH_NAMESPACE
        make_namespace("late")
        assert netns_of(first.receive()) == netns_of(second.receive()) == [cookie_inside(LATE)]
    assert MAX_WAITING_FOR_USER == 2


def _code(broker: str, wait_s: float) -> str:
    with RawClient(broker) as client:
        return client.refusal(tcp(LATE, wait_s=wait_s)).code


def test_client_that_dies_waits_no_longer(broker: BrokerProcess) -> None:
    """Its place is free again, for its user and in the broker."""
    with RawClient(broker) as witness:
        assert witness.works()
        before = idle_descriptors(broker.pid)
        for _ in range(3):
            with RawClient(broker) as client, open("/proc/self/ns/net") as home:
                client.send(tcp(LATE, 0, wait_s=WAIT_S), [home.fileno()])
                client.send(tcp(LATE, wait_s=WAIT_S))
                assert client.works()
            wait_until(lambda: idle_descriptors(broker.pid) == before)
        assert witness.refusal(tcp(LATE, wait_s=0.05)).code == NO_SUCH_NAMESPACE


def test_waiting_requests_of_all_users_are_bounded(
    start_broker: Callable[..., BrokerProcess], make_namespace: Callable[..., str]
) -> None:
    """Many uids, each with two requests and as many descriptors as possible. A user that a grant names may still wait.

    When the namespace comes, all that wait are answered.
    """
    named = f'[[grant]]\nname = "named"\nusers = [{OTHER_USER}]\nnamespaces = ["@host"]\nsockets = ["tcp"]\n'
    broker = start_broker(EVERYTHING + named)
    request = tcp(*range(MAX_SENT_FDS), LATE, wait_s=WAIT_S)
    most = MAX_HELD_DESCRIPTORS // 2 // MAX_SENT_FDS
    with ExitStack() as stack:
        home = os.open("/proc/self/ns/net", os.O_RDONLY)
        stack.callback(os.close, home)
        clients = [stack.enter_context(connect_as(uid, broker)) for uid in UIDS[100 : 100 + most + 5]]
        for client in clients:
            for _ in range(MAX_WAITING_FOR_USER):
                client.send(request, [home] * MAX_SENT_FDS)
        # Requests of a connection are answered in turn, so this one comes after them.
        for client in clients:
            client.send(tcp("@host", request_id=9))
        replies = [_until(client, 9) for client in clients]
        refusals = [reply for some in replies for reply in some]
        assert {reply.code for reply in refusals if isinstance(reply, ErrorReply)} == {OVERLOADED}
        assert len(refusals) == MAX_WAITING_FOR_USER * len(clients) - most
        witness = stack.enter_context(connect_as(OTHER_USER, broker))
        witness.send(tcp("@host", LATE, wait_s=WAIT_S))
        assert witness.works()
        make_namespace("late")
        for client, some in zip(clients, replies, strict=True):
            for _ in range(MAX_WAITING_FOR_USER - len(some)):
                assert netns_of(client.receive())[-1] == cookie_inside(LATE)
                client.close_fds()
        witness.receive()


def _until(client: RawClient, request_id: int) -> list[object]:
    """Return the replies before the one of this id."""
    replies: list[object] = []
    while (reply := client.receive()) is not None and reply.request_id != request_id:
        replies.append(reply)
    return replies
