"""A refusal is written and sent in a piece of its own if others wait. Hanging up at a cut does not avoid its record."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from nsbroker.wire import OpenRequest, SocketSpec, encode_request
from nsbrokerd.clients.client import Client, Person
from nsbrokerd.clients.closer import Closer
from nsbrokerd.clients.peer import Peer
from nsbrokerd.clients.porter import Taken
from nsbrokerd.clients.porter_process import FOREIGN, MORE
from nsbrokerd.clients.quotas import Quotas
from nsbrokerd.namespaces.netns import Gate
from nsbrokerd.namespaces.sent_descriptors import SentNamespaces
from nsbrokerd.policy import Grant, NamespaceRule, Policy, Subject
from nsbrokerd.policy.plans import Refusal, plan
from nsbrokerd.requests.dispatch import COUNTED, Dispatcher
from nsbrokerd.requests.operation import InForce, Received
from nsbrokerd.serving.intake import Cut, Intake, _advance
from nsbrokerd.sockets.credentials import Credentials
from nsbrokerd.sockets.opener import Opener
from nsbrokerd.sockets.time_slice import Steps, TimeSlice
from support.steps import count_steps

REFUSAL = Refusal("denied", "no grant covers this")
UID = 62001


def refuse(cuts: int = 0) -> Steps[Any]:
    for _ in range(cuts):
        yield None
    return REFUSAL


class Place:
    """An intake whose time is up or not, and the outcomes that it sends or only records."""

    def __init__(self, *, is_over: bool) -> None:
        self.sent: list[object] = []
        self.recorded: list[object] = []
        dispatcher: Any = SimpleNamespace(
            opening=None,
            time_slice=SimpleNamespace(is_over=lambda: is_over),
            reply=lambda _client, _request, outcome: self.sent.append(outcome),
            record_unsent=lambda _client, _request, refusal: self.recorded.append(refusal),
        )
        self._intake = Intake(dispatcher, SimpleNamespace(), SimpleNamespace())  # type: ignore[arg-type]  # fakes

    def serve(self, fds: list[int], cuts: int = 0) -> Steps[bool]:
        received: Any = Received(None, None, fds, b"", None)  # type: ignore[arg-type]  # nothing looks at them
        return self._intake._serve_in_steps(None, received, refuse(cuts))  # type: ignore[arg-type]


@pytest.mark.parametrize("is_over", [True, False])
def test_others_go_before_a_refusal_is_sent(*, is_over: bool) -> None:
    place = Place(is_over=is_over)
    cuts, _ = count_steps(place.serve([]))
    assert (cuts, place.sent, place.recorded) == (int(is_over), [REFUSAL], [])


@pytest.mark.parametrize("cuts", [0, 1])
def test_client_that_is_gone_at_the_cut_leaves_a_record_and_no_descriptor(cuts: int) -> None:
    """There is nothing to record of a request that nothing was decided about."""
    place = Place(is_over=True)
    fd = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    steps = place.serve([fd], cuts)
    next(steps)
    steps.close()
    assert (place.sent, place.recorded) == ([], [] if cuts else [REFUSAL])
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


@pytest.mark.parametrize(("answer", "code"), [(FOREIGN, "no-such-namespace"), (MORE, "bad-request"), (None, None)])
def test_client_that_is_gone_when_its_porter_has_answered_leaves_a_record(answer: bytes | None, code: str) -> None:
    recorded = []
    dispatcher: Any = SimpleNamespace(
        opening=None,
        time_slice=None,
        record_refusal=lambda _client, request_id, refusal: recorded.append((request_id, refusal.code)),
    )
    intake = Intake(dispatcher, SimpleNamespace(), SimpleNamespace())  # type: ignore[arg-type]  # fakes
    taken = Taken()
    request: Any = SimpleNamespace(request_id=7)
    steps = intake._serve_taken(SimpleNamespace(), request, b"", 1, taken)  # type: ignore[arg-type]  # a fake
    assert next(steps) is taken
    taken.end(answer)
    steps.close()
    assert recorded == ([(7, code)] if code else [])


class NoTime(TimeSlice):
    """Each piece must end as soon as it can."""

    def is_over(self) -> bool:
        return True


class FakeAudit:
    """Notes the operation, the code and the number of refusals of each record."""

    def __init__(self) -> None:
        self.records: list[tuple[str, str, int]] = []

    def refused(self, _peer: Peer, _id: object, operation: str, refusal: Refusal, *_: object, **more: Any) -> int:
        self.records.append((operation, refusal.code, more.get("count", 1)))
        return 100


class Broker:
    """A broker for one client, which has no time at all: it cuts each request wherever it can."""

    def __init__(self, gate: Gate) -> None:
        self.audit = FakeAudit()
        grant = Grant("some", None, frozenset(), NamespaceRule.parse(["@host"]), frozenset({"tcp"}))
        self.policy = Policy((grant,))
        in_force = InForce(self.policy, Opener(gate, Credentials(), {}), self.audit)  # type: ignore[arg-type]  # a fake
        self.dispatcher = Dispatcher(in_force, gate, SentNamespaces(gate.home_fd))
        self.dispatcher.time_slice = self.dispatcher.opening._time_slice = NoTime()
        self.intake = Intake(self.dispatcher, SimpleNamespace(are_ending=False), Closer())  # type: ignore[arg-type]  # a fake

    def hang_up_at(self, cut: int, request: OpenRequest, rate: int = 1000) -> bool:
        """Serve a request up to a cut, at which its client hangs up. Return whether there is such a cut."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            client = Client(ours, Peer(Subject(UID, frozenset()), UID, 1), Person(UID, 0, rate), Closer())
            if request.stock:
                # Clients ask for a stock only in a namespace with a name, which this test has not.
                planned = plan(request.sockets, self.policy, client.peer.subject, {})
                assert not isinstance(planned, Refusal)
                keep = _advance(self.intake._serve_stock(client, request, planned))
            else:
                theirs.send(encode_request(request))
                keep = self.intake.serve_one(client, 0, Quotas(requests_per_second=rate))
            for _ in range(cut):
                if not isinstance(keep, Cut):
                    return False
                keep = self.intake.resume(keep)
            if isinstance(keep, Cut):
                theirs.close()
                keep.steps.close()
                return True
        return False


@pytest.fixture
def broker() -> Iterator[Broker]:
    gate = Gate()
    yield Broker(gate)
    os.close(gate.home_fd)


def listener(host: str = "127.0.0.1", socket_type: int = socket.SOCK_STREAM) -> SocketSpec:
    return SocketSpec("@host", socket.AF_INET, socket_type, 0, (host, 0), None)


BAD_OPTION = SocketSpec(
    "@host", socket.AF_INET, socket.SOCK_STREAM, 0, None, None, ((socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 0),)
)


def record_at_each_cut(broker: Broker, request: OpenRequest) -> list[str]:
    """Return the code of the record, or "none", for each cut of a request at which its client may hang up."""
    found = []
    while broker.hang_up_at(len(found), request):
        assert len(broker.audit.records) <= 1
        found += [code for _, code, _ in broker.audit.records] or ["none"]
        broker.audit.records.clear()
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="sockets are made as their owner: that needs root")
@pytest.mark.parametrize("stock", [0, 2])
def test_request_that_the_kernel_refused_has_a_record_wherever_its_client_hangs_up(broker: Broker, stock: int) -> None:
    """Also while the sockets that were made for it are closed."""
    specs = (BAD_OPTION,) if stock else (listener(), listener(), listener("192.0.2.1"))
    found = record_at_each_cut(broker, OpenRequest(1, specs, 0, stock))
    made = stock or len(specs)
    assert found[-made - 1 :] == ["os-error"] * (made + 1)
    assert set(found[: -made - 1]) == {"none"}


def test_request_that_the_policy_refused_has_a_record_though_its_client_hangs_up(broker: Broker) -> None:
    found = record_at_each_cut(broker, OpenRequest(1, (listener(),) * 20 + (listener("127.0.0.1", socket.SOCK_DGRAM),)))
    assert found[-1] == "denied"
    assert set(found[:-1]) == {"none"}


def test_request_past_the_rate_is_counted_though_its_client_hangs_up(broker: Broker) -> None:
    """It was refused before it was decoded."""
    specs = tuple(listener(f"127.0.0.{number + 1}") for number in range(200))
    assert broker.hang_up_at(0, OpenRequest(1, specs), rate=0)
    assert broker.audit.records == []
    broker.dispatcher.record_counted()
    assert broker.audit.records == [(COUNTED, "overloaded", 1)]
