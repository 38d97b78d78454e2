"""Messages of protobuf: known ones are read, all others are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsbrokerd.namespaces.engines import protobuf
from nsbrokerd.namespaces.engines.protobuf import MAX_FIELDS, Message, ProtobufError


def test_fields_are_encoded_as_the_documentation_of_protobuf_has_it() -> None:
    """Source: https://protobuf.dev/programming-guides/encoding/, "A Simple Message" and "Length-Delimited Records"."""
    assert protobuf.number(1, 150) == bytes.fromhex("089601")
    assert protobuf.text(2, "testing") == bytes.fromhex("120774657374696e67")
    assert protobuf.message(3, protobuf.number(1, 150)) == bytes.fromhex("1a03089601")


@given(st.integers(1, 2**29 - 1), st.integers(0, 2**64 - 1), st.text())
def test_message_has_the_fields_that_were_encoded(field: int, number: int, text: str) -> None:
    assert Message(protobuf.number(field, number)).number(field) == number
    assert Message(protobuf.text(field, text)).text(field) == text


def test_absent_field_is_empty() -> None:
    message = Message(b"")
    assert (message.number(1), message.text(2), message.messages(3), message.entry(4, "a")) == (0, "", [], None)
    assert message.message(5).text(1) == ""


def test_repeated_field_keeps_its_order_and_the_last_single_one_counts() -> None:
    message = Message(
        protobuf.text(1, "a") + protobuf.message(2, protobuf.number(1, 5)) + protobuf.text(1, "b") + b"\x12\0"
    )
    assert message.text(1) == "b"
    assert [item.number(1) for item in message.messages(2)] == [5, 0]


def test_map_has_the_text_of_a_key() -> None:
    message = Message(protobuf.entry(2, "info", "{}") + protobuf.entry(2, "more", "x"))
    assert (message.entry(2, "info"), message.entry(2, "more"), message.entry(2, "less")) == ("{}", "x", None)


def test_number_of_fields_is_bounded() -> None:
    field = protobuf.text(6, "x")
    assert len(Message(field * MAX_FIELDS).undecoded(6)) == MAX_FIELDS
    with pytest.raises(ProtobufError, match="a message has more than 4096 fields"):
        Message(field * (MAX_FIELDS + 1))


def test_unknown_fields_of_each_type_are_skipped() -> None:
    unknown = protobuf.number(9, 2**63) + protobuf.text(8, "x") + b"\x39" + bytes(8) + b"\x35" + bytes(4)
    assert Message(unknown + protobuf.text(1, "kept") + unknown).text(1) == "kept"


@pytest.mark.parametrize(
    ("encoded", "reason"),
    [
        ("08", "a number is cut off"),
        ("08" + "80" * 10, "longer than 64 bits"),
        ("08" + "ff" * 9 + "02", "more than 64 bits"),
        ("80" * 11, "longer than 64 bits"),
        ("0a05616263", "field 1 is cut off"),
        ("0affffffff0f61", "field 1 is cut off"),
        ("0900", "field 1 is cut off"),
        ("0d00", "field 1 is cut off"),
        ("0001", "a field has the number 0"),
        ("8080808010" + "00", "a field has the number 536870912"),
        ("0b", "field 1 has the unknown type 3"),
        ("0c", "field 1 has the unknown type 4"),
        ("0f", "field 1 has the unknown type 7"),
    ],
)
def test_garbage_is_no_message(encoded: str, reason: str) -> None:
    with pytest.raises(ProtobufError, match=reason):
        Message(bytes.fromhex(encoded))


def test_field_of_another_type_is_refused() -> None:
    message = Message(protobuf.number(1, 5) + protobuf.text(2, "x") + protobuf.message(3, b"\xff\xfe"))
    for method, field in ((message.text, 1), (message.message, 1), (message.messages, 1)):
        with pytest.raises(ProtobufError, match="field 1 has no bytes"):
            method(field)
    with pytest.raises(ProtobufError, match="field 2 has no number"):
        message.number(2)
    with pytest.raises(ProtobufError, match="field 3 has no text"):
        message.text(3)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_are_refused(encoded: bytes) -> None:
    try:
        message = Message(encoded)
        message.messages(1)
        message.text(2)
        message.number(3)
    except ProtobufError:
        pass
