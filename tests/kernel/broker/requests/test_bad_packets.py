"""A packet that does not follow the protocol gets its answer, and the other packets are served as usual."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nsbroker import SocketSpec
from nsbroker.wire import BAD_REQUEST, CODES, UNSUPPORTED_VERSION, ErrorReply, OpenReply, OpenRequest, encode_request
from nsbrokerd.policy.kinds import KIND_OF_TRIPLE, KINDS
from nsbrokerd.policy.options import ORDINARY_OPTIONS
from support.brokers.process import BrokerProcess
from support.brokers.raw_client import TCP, RawClient, tcp
from support.checkout import TESTS
from support.namespaces import PREFIX
from support.process_state import idle_descriptors, stopped
from support.waiting import wait_until

VECTORS = TESTS / "vectors" / "requests.json"
GOOD = encode_request(tcp("@host", request_id=7))


def altered(**changes: Any) -> bytes:
    """A good packet with other keys at its top."""
    return bytes(msgpack.packb({**msgpack.unpackb(GOOD), **changes}))


def with_spec(**changes: Any) -> bytes:
    return altered(sockets=[{"ns": "@host", "family": 2, "type": 1, **changes}])


CANT_BE_FOLLOWED = {
    "random bytes": bytes(range(193, 256)),
    "a byte that is no msgpack": b"\xc1",
    "truncated": GOOD[:-1],
    "more after its end": GOOD + b"\0",
    "no map": msgpack.packb([1, 2]),
    "nested deeply": b"\x91" * 60_000,
    "claims of long lists, nested": b"\xdd\xff\xff\xff\xff" * 10_000,
    "a key twice": b"\x85" + GOOD[1:] + msgpack.packb("id") + msgpack.packb(7),
    "not the shortest encoding": GOOD.replace(b"\xa2id\x07", b"\xa2id\xcc\x07"),
    "no id": altered(id=None),
    "an id that is text": altered(id="7"),
    "an id that is negative": altered(id=-1),
    "one byte more than a packet holds": altered(x=b"x" * 65536)[:65537],
    "three packets long": altered(x=b"x" * 190_000),
}
BAD = {
    "version 2": (altered(v=2), UNSUPPORTED_VERSION, None),
    "version true": (altered(v=True), UNSUPPORTED_VERSION, None),
    "an unknown key": (altered(limit=1), BAD_REQUEST, None),
    "an unknown op": (altered(op="close"), BAD_REQUEST, None),
    "an op that is a number": (altered(op=1), BAD_REQUEST, None),
    "no sockets": (altered(sockets=[]), BAD_REQUEST, None),
    "254 sockets": (altered(sockets=[{"ns": "@host", "family": 2, "type": 1}] * 254), BAD_REQUEST, None),
    "sockets that are a map": (altered(sockets={}), BAD_REQUEST, None),
    "a wait of 61 s": (altered(wait=61), BAD_REQUEST, None),
    "a wait that is no number": (altered(wait=float("nan")), BAD_REQUEST, None),
    "an unknown key in a spec": (with_spec(seal=1), BAD_REQUEST, 0),
    "a family that is text": (with_spec(family="2"), BAD_REQUEST, 0),
    "a flag that nobody knows": (with_spec(type=1 | 0o4000000), BAD_REQUEST, 0),
    "a namespace that is a number": (with_spec(ns=3), BAD_REQUEST, 0),
    "a host that is a name": (with_spec(bind=["localhost", 80]), BAD_REQUEST, 0),
    "a path of a Unix socket": (with_spec(family=1, bind="/run/x"), BAD_REQUEST, 0),
    "an option that is a float": (with_spec(options=[[1, 2, 1.0]]), BAD_REQUEST, 0),
}


@pytest.fixture(scope="module")
def broker(shared_broker: BrokerProcess) -> BrokerProcess:
    return shared_broker


@pytest.fixture
def witness(broker: BrokerProcess) -> Iterator[RawClient]:
    """Another client, that was connected before and wants to go on."""
    with RawClient(broker) as client:
        assert client.works()
        yield client


@pytest.mark.parametrize("packet", CANT_BE_FOLLOWED.values(), ids=CANT_BE_FOLLOWED)
def test_client_that_cant_be_followed_is_answered_and_dropped(
    broker: BrokerProcess, witness: RawClient, packet: bytes
) -> None:
    with RawClient(broker) as client:
        reply = client.refusal(packet)
        assert (reply.code, reply.request_id) == (BAD_REQUEST, None)
        assert client.has_hung_up()
    assert witness.works()


@pytest.mark.parametrize(("packet", "code", "index"), BAD.values(), ids=BAD)
def test_bad_request_is_answered_by_its_id_and_the_client_goes_on(
    broker: BrokerProcess, witness: RawClient, packet: bytes, code: str, index: int | None
) -> None:
    with RawClient(broker) as client:
        reply = client.refusal(packet)
        assert (reply.code, reply.request_id, reply.spec_index) == (code, 7, index)
        assert client.works()
    assert witness.works()
    [record] = [record for record in broker.audit()[-3:] if record["outcome"] != "allowed"]
    assert (record["outcome"], record["code"]) == ("failed", code)


def test_empty_packet_ends_the_connection(broker: BrokerProcess, witness: RawClient) -> None:
    with RawClient(broker) as client:
        client.send(b"")
        assert client.has_hung_up()
    assert witness.works()


def test_requests_before_a_bad_packet_are_answered(broker: BrokerProcess) -> None:
    """Correct requests before it are answered. Requests after it are not."""
    before = len(broker.audit())
    with RawClient(broker) as client:
        with stopped(broker.pid):
            for packet in (GOOD, b"\xc1", GOOD):
                client.send(packet)
        first, second = client.receive(), client.receive()
        assert isinstance(first, OpenReply)
        assert isinstance(second, ErrorReply)
        assert client.has_hung_up()
    assert len(broker.audit()) == before + 2


json_like = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
)
vectors = [bytes.fromhex(vector["packet"]) for vector in json.loads(VECTORS.read_text())["vectors"]]


@st.composite
def nearly_good(draw: st.DrawFn) -> bytes:
    packet = draw(st.sampled_from([one for one in vectors if one]))
    at = draw(st.integers(0, len(packet) - 1))
    return packet[:at] + draw(st.binary(max_size=3)) + packet[at + draw(st.integers(0, 3)) :]


PRIVILEGED = [(1, 36, 0), (1, 36, 2**31), (1, 36, 2**32 - 1), (1, 25, b"lo"), (1, 25, b"\xff" * 99), (0, 19, 1)]


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Requests that follow the protocol, with the values at its limits that the kernel and Python may not like."""
    triple = draw(st.sampled_from(sorted(KIND_OF_TRIPLE)))
    ports = st.sampled_from([0, 1, 80, 65535])
    binds: dict[int, st.SearchStrategy[Any]] = {
        socket.AF_INET: st.tuples(st.sampled_from(["0.0.0.0", "127.0.0.1", "255.255.255.255", "192.0.2.1"]), ports),
        socket.AF_INET6: st.tuples(
            st.sampled_from(["::", "::1", "fe80::1", "ff02::1", "::ffff:127.0.0.1"]),
            ports,
            st.sampled_from([0, 2**20 - 1]),
            st.sampled_from([0, 1, 2**31, 2**32 - 1]),
        ),
        socket.AF_UNIX: st.binary(max_size=107),
        socket.AF_PACKET: st.tuples(st.sampled_from(["lo", "eth9", "é", "%d", "\u20ac" * 5]), ports),
    }
    numbers = st.sampled_from([-(2**31), -1, 0, 1, 2**31 - 1, 2**31, 2**32 - 1])
    ordinary = st.tuples(st.sampled_from(sorted(ORDINARY_OPTIONS)), numbers | st.binary(max_size=256))
    options = st.lists(ordinary.map(lambda one: (*one[0], one[1])) | st.sampled_from(PRIVILEGED), max_size=2)
    bind = draw(st.none() | binds[triple[0]]) if triple[0] in binds else None
    spec = SocketSpec(f"{PREFIX}0", *triple, bind, draw(st.none() | ports), tuple(draw(options)))
    return encode_request(OpenRequest(draw(st.integers(0, 2**63 - 1)), (SocketSpec("@host", *TCP), spec)))


EVERY_KIND = f"""
[[grant]]
name = "every kind"
users = ["*"]
namespaces = ["{PREFIX}*", "@host"]
sockets = {list(KINDS)}
options = ["transparent", "bind_device=*", "mark=0", "mark=0xffffffff", "mark=0x80000000"]
"""


def test_any_packet_gets_one_answer_and_no_descriptor_stays(
    make_namespace: Callable[..., str], start_broker: Callable[..., BrokerProcess]
) -> None:
    """Whatever it is: the broker lives, answers in the protocol's own words, and closes all that it made."""
    make_namespace("0")
    broker = start_broker(EVERY_KIND)
    with RawClient(broker) as witness:
        assert witness.works()
        before = idle_descriptors(broker.pid)

        @given(st.one_of(requests(), nearly_good(), json_like.map(msgpack.packb), st.binary(min_size=1)))
        @settings(suppress_health_check=[HealthCheck.too_slow])
        def answer(packet: bytes) -> None:
            with RawClient(broker) as client:
                reply = client.ask(packet)
                assert reply is not None, broker.log()
                assert not isinstance(reply, ErrorReply) or reply.code in CODES
            assert witness.works()

        answer()
        wait_until(lambda: idle_descriptors(broker.pid) == before)  # a porter ends when it is idle
