"""A request that is decoded in steps means what it means otherwise, and each step is short."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Self

import msgpack
import pytest
from hypothesis import given

from nsbroker import wire
from nsbroker.wire import groups
from nsbroker.wire.long_requests import decode_in_steps, is_long
from support import wire_strategies as some
from support.steps import count_steps, finish

SPEC = {"ns": "blue", "family": 2, "type": 1}
SHAPE = {"family": 2, "type": 1}
LISTENER = {**SHAPE, "bind": ["0.0.0.0", 0], "listen": 5}


def asks(*specs: dict[str, object]) -> dict[str, object]:
    return {"v": 1, "id": 7, "op": "open", "sockets": list(specs)}


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
        (asks({**SHAPE, "each": [["blue", 3]]}, {**SHAPE, "each": []}), 3),
        (asks({**SHAPE, "each": [["blue", 252]]}, {**SHAPE, "each": []}), 252),
        (asks({**SHAPE, "each": [["blue", 253]]}, {**SHAPE, "each": []}), None),
        (asks({**SHAPE, "each": [["blue", 253]]}, SPEC), None),
        (asks({**SHAPE, "each": [["blue", 252]]}, SPEC), None),
        (asks(*[SPEC] * 2, {**SHAPE, "each": [["blue", 252]]}), None),
        (asks({**SHAPE, "each": [["blue", 1]] * 254}), None),
        (asks({**LISTENER, "each": [["blue", *[80] * 200]]}, {**LISTENER, "each": [["blue", *[80] * 54]]}), None),
        (asks({**LISTENER, "each": [["blue", *[80] * 40, -1]]}), 0),
        (asks(*[{**LISTENER, "each": [["blue", *[80] * 200]]}] * 254), None),
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


MANY_SOCKETS = [
    asks(*[{**LISTENER, "each": [["blue", *[80] * 200]]}] * 253),
    asks(*[{**LISTENER, "each": [["blue", *[80] * 20]]}] * 900),
    asks(*[{**SHAPE, "each": [["blue", 253]]}] * 253),
    asks({**LISTENER, "each": [["blue", *[80] * 200]] * 300}),
    asks({**SHAPE, "each": [["blue", 200]] * 300}),
]


@pytest.mark.parametrize("message", MANY_SOCKETS)
@pytest.mark.parametrize("decode", [wire.decode_request, lambda packet: finish(decode_in_steps(packet))])
def test_groups_of_too_many_sockets_are_not_all_decoded(
    message: dict[str, object], decode: Callable[[bytes], wire.Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A packet of 64 KB could have 60,000 ports, and a few bytes stand for 253 sockets."""
    made: list[int] = []

    class Counted(list):
        def append(self, one: object) -> None:
            made.append(1)
            super().append(one)

        def __iadd__(self, more: list) -> Self:
            made.extend([1] * len(more))
            super().__iadd__(more)
            return self

    real = groups.decode_group

    def count(value, decode_spec, decode_namespace, specs):  # type: ignore[no-untyped-def]
        counted = Counted()
        yield from real(value, decode_spec, decode_namespace, counted)
        specs += counted

    monkeypatch.setattr(groups, "decode_group", count)
    packet = msgpack.packb(message)
    with pytest.raises(wire.ProtocolError, match="253"):
        decode(packet)
    assert len(made) <= 2 * wire.MAX_SOCKETS + 1


@pytest.mark.parametrize(
    "message",
    [
        asks({**LISTENER, "each": [["blue", *range(1000, 1253)]]}),
        asks({**LISTENER, "each": [["blue", port] for port in range(1000, 1253)]}),
        asks({**SHAPE, "each": [["blue", 1]] * 253}),
        asks(*[{**LISTENER, "each": [["blue", 80]]}] * 253),
    ],
)
def test_groups_are_decoded_in_short_steps(message: dict[str, object]) -> None:
    """A step decodes about 32 sockets, also of a packet that is shorter than others that are decoded in steps."""
    packet = msgpack.packb(message)
    assert is_long(packet)
    cuts, request = count_steps(decode_in_steps(packet))
    assert request == wire.decode_request(packet)
    assert cuts >= 253 // 32


@pytest.mark.parametrize(("sockets", "expected"), [([SPEC] * 20, False), ([SPEC] * 100, True)])
def test_few_plain_sockets_take_no_steps(sockets: list[dict[str, object]], expected: bool) -> None:
    assert is_long(msgpack.packb(asks(*sockets))) is expected
