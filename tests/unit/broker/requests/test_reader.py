"""A request that came before is read as if it had not, whatever its id."""

from __future__ import annotations

import socket
from collections.abc import Callable

import msgpack
from hypothesis import example, given
from hypothesis import strategies as st

from nsbroker import wire
from nsbroker.wire import OpenRequest, SocketSpec, encode_request
from nsbrokerd.policy.plans import read_request
from nsbrokerd.requests.reader import RequestReader
from support import wire_strategies as some

TCP = SocketSpec("blue", int(socket.AF_INET), int(socket.SOCK_STREAM))
ID_AT = len(b"\x84\xa1v\x01\xa2id")


def outcome(read: Callable[[bytes], object], packet: bytes) -> object:
    """The result of reading: the request, or the refusal."""
    try:
        return read(packet)
    except wire.ProtocolError as error:
        return str(error), error.code, error.request_id, error.index


def with_id(encoded_id: bytes) -> bytes:
    return (
        encode_request(OpenRequest(0, (TCP,)))[:ID_AT]
        + encoded_id
        + encode_request(OpenRequest(0, (TCP,)))[ID_AT + 1 :]
    )


@given(some.ids)
@example(0x7F)
@example(0x80)
@example(2**63 - 1)
def test_only_the_id_is_read_from_a_packet_that_came_before(request_id: int) -> None:
    reader = RequestReader()
    (first, _), (second, named) = reader.read(with_id(b"\x05")), reader.read(with_id(msgpack.packb(request_id)))
    assert isinstance(first, OpenRequest)
    assert isinstance(second, OpenRequest)
    assert (second, named) == (OpenRequest(request_id, (TCP,)), 0)
    assert second.sockets is first.sockets  # it was not decoded anew


@given(st.one_of(st.binary(max_size=10), st.integers(-(2**63), 2**64 - 1).map(msgpack.packb)))
@example(b"\xcc\x05")
@example(b"\xcd\x00\x05")
@example(b"\xcf" + bytes(7) + b"\x05")
@example(b"\xcf" + b"\xff" * 8)
@example(b"\xcf")
@example(b"\xd3" + bytes(7) + b"\x05")
def test_an_id_that_is_none_is_refused_as_ever(encoded_id: bytes) -> None:
    """Also one that is not in its shortest encoding."""
    reader = RequestReader()
    reader.read(with_id(b"\x05"))
    assert outcome(reader.read, with_id(encoded_id)) == outcome(read_request, with_id(encoded_id))


@given(
    st.lists(st.one_of(some.hostile(some.requests.map(encode_request)), some.requests.map(encode_request)), max_size=6)
)
def test_what_came_before_changes_nothing(packets: list[bytes]) -> None:
    reader = RequestReader()
    for packet in [*packets, *packets]:
        assert outcome(reader.read, packet) == outcome(read_request, packet)


def test_what_is_kept_is_bounded() -> None:
    reader = RequestReader()
    for number in range(20_000):
        reader.read(encode_request(OpenRequest(1, (TCP._replace(namespace=f"blue{number}"),))))
    assert len(reader._known) <= 16_384
