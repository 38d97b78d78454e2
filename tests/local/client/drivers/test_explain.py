"""`Client.explain` with a broker that answers, refuses, or is too old."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from nsbroker import BrokerProtocolError, Client, NamespaceNotFoundError, SocketSpec, wire
from support.brokers.fake import FakeBroker, Visit, descriptors, fake_broker

TCP = SocketSpec("blue", socket.AF_INET, socket.SOCK_STREAM)


def test_question_is_sent_as_it_was_asked(broker: FakeBroker) -> None:
    """The flag SOCK_CLOEXEC is left out, as the protocol does not know it. A path is sent as its descriptor."""
    before = descriptors(first=True)
    with Client(broker.path) as client:
        spec = TCP._replace(type=TCP.type | socket.SOCK_CLOEXEC)
        for asked in (spec, spec._replace(namespace="/proc/self/ns/net")):
            answer = client.explain(asked, ("10.0.0.1", 443))
            assert (answer.reason, answer.by, answer.grants[0].name) == (None, 0, "web")
    assert descriptors() == before


def test_question_reaches_the_broker_with_socket_and_address() -> None:
    def check(visit: Visit) -> None:
        expected = wire.ExplainRequest(visit.request.request_id, TCP._replace(namespace=0), ("10.0.0.1", 443))
        visit.grant() if visit.request == expected and len(visit.fds) == 1 else visit.fail(wire.DENIED)

    with fake_broker(check) as broker, Client(broker.path) as client:
        fd = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        assert client.explain(TCP._replace(namespace=fd), ("10.0.0.1", 443)).reason is None
        os.close(fd)


def test_older_broker_is_named_with_the_other_ways() -> None:
    """It answers as brokers do to an operation that they do not know."""
    with (
        fake_broker(lambda visit: visit.fail(wire.BAD_REQUEST, message="unknown op 'explain'")) as broker,
        Client(broker.path) as client,
        pytest.raises(BrokerProtocolError) as refused,
    ):
        client.explain(TCP)
    assert refused.value.errno == errno.EPROTO
    assert refused.value.strerror == (
        "this broker is too old to explain its policy: look at nsbroker-get list, or ask the administrator, who has "
        "nsbrokerd explain"
    )


@pytest.mark.parametrize(
    ("code", "kind"), [(wire.BAD_REQUEST, BrokerProtocolError), (wire.NO_SUCH_NAMESPACE, NamespaceNotFoundError)]
)
def test_other_refusals_are_the_brokers_own(code: str, kind: type[OSError]) -> None:
    with (
        fake_broker(lambda visit: visit.fail(code, index=0, message="not so")) as broker,
        Client(broker.path) as client,
        pytest.raises(kind, match="not so"),
    ):
        client.explain(TCP)


def test_path_that_can_not_be_opened_is_not_asked_about(broker: FakeBroker) -> None:
    with Client(broker.path) as client, pytest.raises(NamespaceNotFoundError, match="can't open the namespace /nope/n"):
        client.explain(TCP._replace(namespace="/nope/ns"))


def test_question_that_can_not_be_encoded_is_the_callers_error(broker: FakeBroker) -> None:
    with Client(broker.path) as client:
        with pytest.raises(ValueError, match="the message can't be encoded"):
            client.explain(TCP, ("10.0.0.1", 2**70))
        assert client.explain(TCP).reason is None
