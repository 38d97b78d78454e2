"""Encodes and decodes the few messages of protobuf that the CRI needs. Unknown fields are skipped.

Source: https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from collections.abc import Iterator

_VARINT = 0
_FIXED_64 = 1
_BYTES = 2
_FIXED_32 = 5
_LENGTHS = {_FIXED_64: 8, _FIXED_32: 4}

MAX_FIELDS = 4096
"""A message with more fields is refused, so that it does not hold up other requests. Decoding these takes 3 ms."""

_MAX_VARINT_BYTES = 10
_MAX_FIELD = 2**29 - 1

Value = int | bytes
"""The value of a field: a number, or the bytes of a text or of a message."""


class ProtobufError(Exception):
    """These bytes are no message of protobuf, or not the expected message."""


def number(field: int, value: int) -> bytes:
    """Encode a field with a number from 0 to 2**64 - 1."""
    return _varint(field << 3 | _VARINT) + _varint(value)


def text(field: int, value: str) -> bytes:
    """Encode a field with a text."""
    return message(field, value.encode())


def message(field: int, *parts: bytes) -> bytes:
    """Encode a field with a message, whose own fields are the parts."""
    content = b"".join(parts)
    return _varint(field << 3 | _BYTES) + _varint(len(content)) + content


def entry(field: int, key: str, value: str) -> bytes:
    """Encode one entry of a field with a map from texts to texts."""
    return message(field, text(1, key), text(2, value))


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


class Message:
    """A decoded message. A field that is absent is empty, as protobuf has it.

    Raises:
        ProtobufError: by each method, if a field has another type than the method expects.
    """

    __slots__ = ("_fields",)

    def __init__(self, encoded: bytes) -> None:
        """Decode a message without its inner messages.

        Raises:
            ProtobufError: this is no message.
        """
        self._fields: dict[int, list[Value]] = {}
        for count, (field, value) in enumerate(_fields_of(encoded)):
            if count >= MAX_FIELDS:
                raise ProtobufError(f"a message has more than {MAX_FIELDS} fields")
            self._fields.setdefault(field, []).append(value)

    def number(self, field: int) -> int:
        """Return the field's number, or 0."""
        value = self._last(field, 0)
        if not isinstance(value, int):
            raise ProtobufError(f"field {field} has no number")
        return value

    def text(self, field: int) -> str:
        """Return the field's text, or "" ."""
        return _as_text(field, self._last(field, b""))

    def message(self, field: int) -> Message:
        """Return the field's message. An absent one has no fields."""
        return Message(_as_bytes(field, self._last(field, b"")))

    def messages(self, field: int) -> list[Message]:
        """Return each message of a repeated field, in order."""
        return [Message(encoded) for encoded in self.undecoded(field)]

    def undecoded(self, field: int) -> list[bytes]:
        """Return each message of a repeated field, in order, as bytes."""
        return [_as_bytes(field, value) for value in self._fields.get(field, ())]

    def entry(self, field: int, key: str) -> str | None:
        """Return the text that a map from texts to texts has for a key."""
        found = [pair.text(2) for pair in self.messages(field) if pair.text(1) == key]
        return found[-1] if found else None

    def _last(self, field: int, absent: Value) -> Value:
        # A field that is not repeated can come several times. Then the last one counts.
        return self._fields.get(field, (absent,))[-1]


def _as_bytes(field: int, value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise ProtobufError(f"field {field} has no bytes")
    return value


def _as_text(field: int, value: Value) -> str:
    try:
        return _as_bytes(field, value).decode()
    except UnicodeDecodeError as error:
        raise ProtobufError(f"field {field} has no text") from error


def _fields_of(encoded: bytes) -> Iterator[tuple[int, Value]]:
    at = 0
    while at < len(encoded):
        tag, at = _read_varint(encoded, at)
        field, kind = tag >> 3, tag & 7
        if not 0 < field <= _MAX_FIELD:
            raise ProtobufError(f"a field has the number {field}")
        if kind == _VARINT:
            value, at = _read_varint(encoded, at)
            yield field, value
            continue
        if kind == _BYTES:
            length, at = _read_varint(encoded, at)
        elif kind in _LENGTHS:
            length = _LENGTHS[kind]
        else:
            raise ProtobufError(f"field {field} has the unknown type {kind}")
        if length > len(encoded) - at:
            raise ProtobufError(f"field {field} is cut off")
        yield field, encoded[at : at + length]
        at += length


def _read_varint(encoded: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(encoded[at : at + _MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            if value >= 2**64:
                raise ProtobufError("a number has more than 64 bits")
            return value, at + index + 1
    raise ProtobufError("a number is cut off, or longer than 64 bits")
