"""A request that is decoded in steps means what it means otherwise, and each step is short."""

from __future__ import annotations

import gc
import weakref

import msgpack
import pytest
from hypothesis import given

from nsbroker import wire
from nsbroker.wire.long_requests import decode_in_steps
from support import wire_strategies as some
from support.steps import count_steps, finish

SPEC = {"ns": "blue", "family": 2, "type": 1}


def agree(packet: bytes) -> None:
    """Check that both decoders accept the packet, with the same result, or both refuse it."""
    try:
        expected = wire.decode_request(packet)
    except wire.ProtocolError:
        with pytest.raises(wire.ProtocolError):
            finish(decode_in_steps(packet))
    else:
        assert finish(decode_in_steps(packet)) == expected


@given(some.hostile(some.requests.map(wire.encode_request)))
def test_both_decoders_agree_about_any_packet(packet: bytes) -> None:
    agree(packet)


@given(some.requests.map(wire.encode_request))
def test_both_decoders_agree_about_requests(packet: bytes) -> None:
    agree(packet)


@pytest.mark.parametrize(
    "message",
    [
        {"v": 1, "id": 7, "op": "open", "sockets": [{**SPEC, "options": [[1, 2, b"x" * 256]] * 32}] * 7},
        {"id": 7, "sockets": [SPEC] * 253, "v": 1, "op": "open", "wait": 1.5},
        {"v": 1, "id": 7, "op": "explain", "socket": {**SPEC, "options": [[1, 2, b"x" * 256]] * 32}},
    ],
)
def test_long_requests_are_decoded(message: dict[str, object]) -> None:
    packet = msgpack.packb(message)
    assert len(packet) > 2048
    assert finish(decode_in_steps(packet)) == wire.decode_request(packet)


@pytest.mark.parametrize(
    ("message", "index"),
    [
        ({"v": 1, "id": 7, "op": "open", "sockets": [SPEC, {**SPEC, "family": -1}, SPEC]}, 1),
        ({"sockets": [SPEC, {}, SPEC], "v": 1, "op": "open", "id": 7}, 1),
        ({"v": 1, "id": 7, "op": "open", "sockets": [SPEC] * 254}, None),
        ({"v": 1, "id": 7, "op": "open", "sockets": [SPEC], "more": [[[]] * 1000] * 20}, None),
        ({"v": 2, "id": 7, "op": "open", "sockets": [SPEC]}, None),
    ],
)
def test_refusal_names_the_request_and_the_socket(message: dict[str, object], index: int | None) -> None:
    """Wherever the id is in the packet."""
    packet = msgpack.packb(message)
    errors = []
    for decode in (wire.decode_request, lambda packet: finish(decode_in_steps(packet))):
        with pytest.raises(wire.ProtocolError) as refused:
            decode(packet)
        errors.append((refused.value.code, refused.value.request_id, refused.value.index))
    assert errors[0] == errors[1]
    assert errors[0][1:] == (7, index)


@pytest.mark.parametrize(
    "message",
    [
        {"v": 1, "id": 7, "op": "open", "sockets": [[[{}] * 1000] * 60]},
        {"v": 1, "id": 7, "op": "open", "sockets": [{"ns": [[{}] * 1000] * 60}]},
        {"v": 1, "id": 7, "op": [[{}] * 1000] * 60},
        {"v": 1, "id": 7, "op": "open", "sockets": [{**SPEC, "options": [[1, 2, 1]] * 32}] * 253},
    ],
)
def test_garbage_is_decoded_in_short_steps(message: dict[str, object]) -> None:
    """A step decodes a kilobyte, or one socket."""
    packet = msgpack.packb(message)
    steps = decode_in_steps(packet)
    try:
        cuts, _ = count_steps(_until_refused(steps))
    except wire.ProtocolError:
        raise AssertionError("refused before its end") from None
    assert cuts >= 50


def _until_refused(steps):  # type: ignore[no-untyped-def]
    try:
        return (yield from steps)
    except wire.ProtocolError:
        return None


def test_error_message_looks_at_no_more_of_a_value_than_it_shows() -> None:
    """Garbage in it has a thousand lists, and each has a thousand values that can't be shown twice."""

    class Shown:
        times = 0

        def __repr__(self) -> str:
            self.times += 1
            return "x"

    value = Shown()
    text = wire.packet.shorten([[value] * 1000] * 1000)
    assert len(text) == 60
    assert value.times <= 60


def test_nothing_is_left_of_a_packet_that_was_refused() -> None:
    """Not even until the next garbage collection: that would be a megabyte for each packet."""
    packet = msgpack.packb({"v": 1, "id": 7, "op": "open", "sockets": [SPEC] * 100 + [{}]})
    gc.disable()
    try:
        error = refused(packet)
        assert error() is None
    finally:
        gc.enable()


def refused(packet: bytes) -> weakref.ref[wire.ProtocolError]:
    try:
        finish(decode_in_steps(packet))
    except wire.ProtocolError as error:
        return weakref.ref(error)
    raise AssertionError("the packet was accepted")
