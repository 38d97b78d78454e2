"""A packet is recalled only if decoding it would return the same request, whatever its id."""

from __future__ import annotations

import socket

import msgpack
from hypothesis import example, given
from hypothesis import strategies as st

from nsbroker.wire import OpenRequest, ProtocolError, Request, SocketSpec, decode_request, encode_request
from nsbrokerd.policy import Policy, Subject
from nsbrokerd.policy.plans import Plan
from nsbrokerd.requests.plan_memory import PlanMemory
from support import wire_strategies as some

ANN = Subject(1000, frozenset({1000}))
TCP = SocketSpec("blue", int(socket.AF_INET), int(socket.SOCK_STREAM))
PACKET = encode_request(OpenRequest(0, (TCP,)))
ID_AT = len(b"\x84\xa1v\x01\xa2id")
PLAN: Plan = []


def remembering(*packets: bytes) -> PlanMemory:
    """A memory of those of the packets that are correct requests for sockets."""
    memory = PlanMemory(Policy(()))
    for packet in packets:
        request = decoded(packet)
        if isinstance(request, OpenRequest):
            memory.remember(ANN, packet, request, PLAN)
    return memory


def decoded(packet: bytes) -> Request | None:
    try:
        return decode_request(packet)
    except ProtocolError:
        return None


def with_id(encoded_id: bytes) -> bytes:
    return PACKET[:ID_AT] + encoded_id + PACKET[ID_AT + 1 :]


@given(some.ids)
@example(0x7F)
@example(0x80)
@example(2**63 - 1)
def test_packet_that_came_before_is_recalled_with_another_id(request_id: int) -> None:
    memory = remembering(with_id(b"\x05"))
    assert memory.recall(ANN, with_id(msgpack.packb(request_id))) == (OpenRequest(request_id, (TCP,)), PLAN)


def test_packet_for_a_stock_is_recalled_with_its_number() -> None:
    packets = [encode_request(OpenRequest(1, (TCP,), 0, count)) for count in (1, 16, 200)]
    memory = remembering(*packets)
    for packet in packets:
        assert memory.recall(ANN, packet) == (decode_request(packet), PLAN)
    assert memory.recall(ANN, encode_request(OpenRequest(1, (TCP,), 0, 17))) is None
    assert memory.recall(ANN, PACKET) is None


@given(st.one_of(st.binary(max_size=10), st.integers(-(2**63), 2**64 - 1).map(msgpack.packb)))
@example(b"\xcc\x05")
@example(b"\xcd\x00\x05")
@example(b"\xcf" + bytes(7) + b"\x05")
@example(b"\xcf" + b"\xff" * 8)
@example(b"\xcf")
@example(b"\xd3" + bytes(7) + b"\x05")
def test_packet_with_a_wrong_id_is_never_recalled(encoded_id: bytes) -> None:
    """Also if the id is not in its shortest encoding."""
    recalled = remembering(with_id(b"\x05")).recall(ANN, with_id(encoded_id))
    assert (recalled and recalled[0]) == decoded(with_id(encoded_id))


@given(
    st.lists(st.one_of(some.hostile(some.requests.map(encode_request)), some.requests.map(encode_request)), max_size=6)
)
def test_recalled_request_is_the_decoded_one(packets: list[bytes]) -> None:
    memory = remembering(*packets)
    for packet in packets:
        recalled = memory.recall(ANN, packet)
        assert recalled is None or recalled[0] == decoded(packet)
