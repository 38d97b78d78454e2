"""Batches whose sockets share specs, with brokers that know no groups, that stop to know them, and that are odd."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

import pytest

from nsbroker import BrokerProtocolError, Client, NamespaceNotFoundError, SocketSpec, wire
from support.brokers.fake import Script, Visit, descriptors, fake_broker, fds_of

TCP = SocketSpec("blue", socket.AF_INET, socket.SOCK_STREAM)
UDP = SocketSpec("blue", socket.AF_INET, socket.SOCK_DGRAM)
UNKNOWN = "unknown key 'each' in a socket spec"
BATCH = [TCP] * 253 + [UDP] * 253 + [TCP] * 94


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A file with a line for each request: its number of sockets, and whether it has groups."""
    path = tmp_path / "requests"
    path.touch()
    return path


def noting(log: Path, script: Script) -> Script:
    def note(visit: Visit) -> None:
        assert isinstance(visit.request, wire.OpenRequest)
        with log.open("a") as file:
            file.write(f"{len(visit.request.sockets)} {visit.request.is_grouped}\n")
        script(visit)

    return note


def old(visit: Visit) -> None:
    """Answer as a broker that does not know groups."""
    assert isinstance(visit.request, wire.OpenRequest)
    if visit.request.is_grouped:
        visit.fail(wire.BAD_REQUEST, index=0, message=UNKNOWN)
    else:
        visit.grant()


@pytest.mark.parametrize("known", [0, 1, 2])
def test_broker_that_knows_no_groups_is_asked_without(log: Path, known: int) -> None:
    """Also if it takes the place of a newer one in the middle of a batch. Sockets that came until then are closed."""

    def downgraded(visit: Visit) -> None:
        if visit.number <= known:
            visit.grant()
        else:
            old(visit)

    with fake_broker(noting(log, downgraded)) as broker:
        before = descriptors()
        client = Client(broker.path)
        sockets = client.open(BATCH)
        assert [sock.type for sock in sockets] == [spec.type for spec in BATCH]
        assert descriptors() - before <= len(sockets) + 2  # the connection and its channel
        again = client.open([TCP] * 2)
        lines = log.read_text().splitlines()
        grouped = [line for line in lines if line.endswith("True")]
        assert known < len(grouped) <= known + 2
        assert lines[len(grouped) :] == ["253 False", "253 False", "94 False", "2 False"]
        for sock in (*sockets, *again):
            sock.close()
        client.close()
        assert descriptors() == before


def refuse_all_groups(visit: Visit) -> None:
    visit.fail(wire.BAD_REQUEST, index=0, message=UNKNOWN)


def test_broker_that_always_blames_groups_is_asked_twice(log: Path) -> None:
    """An odd answer leads to no endless loop."""
    with fake_broker(noting(log, refuse_all_groups)) as broker:
        before = descriptors()
        client = Client(broker.path)
        for _ in range(2):
            with pytest.raises(BrokerProtocolError, match="unknown key 'each'"):
                client.open([TCP, UDP])
        client.close()
        assert log.read_text().splitlines() == ["2 True", "2 False", "2 False"]
        assert descriptors() == before


@pytest.mark.parametrize("message", ["unknown key 'eac", "a spec with each has neither ns nor also", ""])
def test_other_bad_requests_are_errors(log: Path, message: str) -> None:
    with fake_broker(noting(log, lambda visit: visit.fail(wire.BAD_REQUEST, index=1, message=message))) as broker:
        client = Client(broker.path)
        with pytest.raises(BrokerProtocolError) as refused:
            client.open([TCP, UDP])
        assert refused.value.errno == errno.EPROTO
        assert (refused.value.index, refused.value.spec) == (1, UDP)
        client.close()
    assert log.read_text().splitlines() == ["2 True"]


def test_short_reply_that_was_not_asked_for_is_refused() -> None:
    """It would be the reply to another request."""

    def grouped(visit: Visit) -> None:
        sockets, opened = visit.make()
        visit.reply(visit.describe(opened)._replace(is_grouped=True), fds_of(sockets))

    with fake_broker(grouped) as broker:
        before = descriptors()
        client = Client(broker.path)
        with pytest.raises(BrokerProtocolError, match="the request had no groups"):
            client.open([TCP])
        client.close()
        assert descriptors() == before


def test_error_in_a_group_names_the_spec_of_the_whole_batch() -> None:
    def refuse_second(visit: Visit) -> None:
        if visit.number == 2:
            visit.fail(wire.NO_SUCH_NAMESPACE, index=7)
        else:
            visit.grant()

    batch = [TCP._replace(namespace=f"blue{number}") for number in range(300)]
    with fake_broker(refuse_second) as broker:
        before = descriptors()
        client = Client(broker.path)
        with pytest.raises(NamespaceNotFoundError) as refused:
            client.open(batch)
        client.close()
        assert (refused.value.index, refused.value.spec) == (260, batch[260])
        assert descriptors() == before


def test_index_past_the_batch_is_still_the_brokers_refusal() -> None:
    with fake_broker(lambda visit: visit.fail(wire.NO_SUCH_NAMESPACE, index=252)) as broker:
        client = Client(broker.path)
        with pytest.raises(NamespaceNotFoundError) as refused:
            client.open([TCP, UDP])
        client.close()
        assert (refused.value.index, refused.value.spec) == (252, None)


def test_connection_lost_in_the_middle_of_a_batch_is_asked_again(log: Path) -> None:
    """With groups as before, and no socket comes twice."""

    def hang_up_once(visit: Visit) -> None:
        if visit.number == 2:
            visit.connection.shutdown(socket.SHUT_RDWR)
        else:
            visit.grant()

    with fake_broker(noting(log, hang_up_once)) as broker:
        before = descriptors()
        client = Client(broker.path)
        sockets = client.open(BATCH)
        assert [sock.type for sock in sockets] == [spec.type for spec in BATCH]
        lines = log.read_text().splitlines()
        assert lines[0] == lines[1] == "253 True"
        assert all(line.endswith("True") for line in lines)
        for sock in sockets:
            sock.close()
        client.close()
        assert descriptors() == before
