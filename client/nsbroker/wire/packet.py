"""A packet: one msgpack map in its canonical encoding, of at most MAX_PACKET_BYTES."""

from __future__ import annotations

from itertools import islice

from msgpack import Packer, packb, unpackb

from .bounds import MAX_LIST_ITEMS, MAX_PACKET_BYTES, MAX_SOCKETS
from .messages import ProtocolError

# One shared packer is faster. But if msgpack is the pure Python version, threads would mix their packets in it.
pack_value = packb if Packer.__module__ == "msgpack.fallback" else Packer(autoreset=True, use_bin_type=True).pack
"""Encodes any value without a check. Its errors are those of msgpack."""

Value = None | bool | int | float | str | bytes | list["Value"] | dict[str, "Value"]
"""The values that a msgpack packet can carry."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TypeAlias

    Packable: TypeAlias = Value | Sequence["Packable"]
    """A tuple becomes a list."""


def pack(message: Mapping[str, Packable], max_bytes: int = MAX_PACKET_BYTES) -> bytes:
    """Encode one map.

    Raises:
        ProtocolError: the packet is longer than `max_bytes`, or a number does not fit 64 bits.
    """
    try:
        packet: bytes = pack_value(message)
    except (OverflowError, ValueError, UnicodeEncodeError) as error:
        raise ProtocolError(f"the message can't be encoded: {error}") from error
    if len(packet) > max_bytes:
        raise ProtocolError(f"a packet has at most {max_bytes} bytes, and this one has {len(packet)}")
    return packet


def unpack(packet: bytes, max_bytes: int = MAX_PACKET_BYTES, max_items: int = MAX_LIST_ITEMS) -> dict[str, Value]:
    """Decode one map whose lists have at most `max_items` items.

    The packet must be equal to its own re-encoding. This refuses duplicate keys, which decoders silently drop, and
    every encoding that is not the shortest. (An equal length would not suffice: a short float can make up for a
    duplicate key.) The decoder allocates as many items as a list claims, so nested claims could cost 60 MB for one
    packet.

    Raises:
        ProtocolError: the packet is not exactly one map with string keys in its shortest encoding.
    """
    if len(packet) > max_bytes:
        raise ProtocolError(f"the packet has more than {max_bytes} bytes")
    try:
        message = unpackb(packet, max_array_len=max_items)
        canonical = pack_value(message)
    except Exception as error:
        # msgpack raises a dozen types, and each means the same here: not a msgpack value.
        raise ProtocolError(f"the packet is not a msgpack value: {str(error)[:80]}") from error
    if type(message) is not dict:
        raise ProtocolError(f"a packet must be a map, got {type(message).__name__}")
    if canonical != packet:
        raise ProtocolError("the packet has duplicate keys, or not the shortest encoding")
    return message


_SHORT = 60


def shorten(value: object) -> str:
    """Return a peer's value for an error message, cut to 60 characters. This is quick for any value."""
    text = repr(_first_of(value, [_SHORT]))
    return text if len(text) <= _SHORT else text[: _SHORT - 3] + "..."


def _first_of(value: object, rest: list[int]) -> object:
    """Return a value without the parts that are certainly cut. `rest` has the number of items that may still be shown.

    Each item takes a character at least.
    """
    rest[0] -= 1
    if isinstance(value, (str, bytes)):
        return value[:_SHORT]
    if type(value) is dict:
        return {_first_of(key, rest): _first_of(value[key], rest) for key in islice(value, _SHORT) if rest[0] >= 0}
    if type(value) is list or type(value) is tuple:
        return type(value)([_first_of(item, rest) for item in value[:_SHORT] if rest[0] >= 0])
    return value


def refuse_unknown_keys(message: dict[str, Value], known: frozenset[str], what: str) -> None:
    """Raise ProtocolError if `message` has a key that is not in `known`."""
    for key in message:
        if key not in known:
            raise ProtocolError(f"unknown key {shorten(key)} in {what}")


def too_many_sockets() -> ProtocolError:
    """Return the error for a message whose groups have too many sockets."""
    return ProtocolError(f"a message has at most {MAX_SOCKETS} sockets, and this one has more")


def expect_int(value: object, low: int, high: int, what: str) -> int:
    """Return `value` if it is an int (no bool) of low..high, else raise ProtocolError."""
    if type(value) is not int or not low <= value <= high:
        raise ProtocolError(f"{what} must be an integer of {low}..{high}, got {shorten(value)}")
    return value


def expect_bool(value: object, what: str) -> bool:
    """Return `value` if it is a boolean, else raise ProtocolError."""
    if type(value) is not bool:
        raise ProtocolError(f"{what} must be a boolean, got {shorten(value)}")
    return value


def expect_str(value: object, what: str) -> str:
    """Return `value` if it is a string, else raise ProtocolError."""
    if type(value) is not str:
        raise ProtocolError(f"{what} must be a string, got {shorten(value)}")
    return value


def expect_list(value: object, what: str) -> list[Value]:
    """Return `value` if it is a list, else raise ProtocolError."""
    if type(value) is not list:
        raise ProtocolError(f"{what} must be a list, got {shorten(value)}")
    return value


def expect_map(value: object, known: frozenset[str], what: str) -> dict[str, Value]:
    """Return `value` if it is a map whose keys are all `known`, else raise ProtocolError."""
    if type(value) is not dict:
        raise ProtocolError(f"{what} must be a map, got {shorten(value)}")
    if not value.keys() <= known:
        refuse_unknown_keys(value, known, what)
    return value
