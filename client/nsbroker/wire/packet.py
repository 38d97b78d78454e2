"""A packet: one msgpack map, strictly canonical, at most MAX_PACKET_BYTES long."""

from __future__ import annotations

from msgpack import Packer, packb, unpackb

from .limits import MAX_LIST_ITEMS, MAX_PACKET_BYTES
from .messages import ProtocolError

# One packer for all is faster, but where msgpack is written in Python, threads would mix their packets in it.
_pack = packb if Packer.__module__ == "msgpack.fallback" else Packer(autoreset=True, use_bin_type=True).pack

Value = None | bool | int | float | str | bytes | list["Value"] | dict[str, "Value"]
"""What msgpack can carry here."""


def pack(message: dict[str, Value], max_bytes: int = MAX_PACKET_BYTES) -> bytes:
    """Encode one map.

    Raises:
        ProtocolError: it is longer than `max_bytes`, or a number does not fit 64 bits.
    """
    try:
        packet: bytes = _pack(message)
    except (OverflowError, ValueError, UnicodeEncodeError) as error:
        raise ProtocolError(f"can't be encoded: {error}") from error
    if len(packet) > max_bytes:
        raise ProtocolError(f"packet of {len(packet)} bytes; at most {max_bytes} fit")
    return packet


def unpack(packet: bytes, max_bytes: int = MAX_PACKET_BYTES, max_items: int = MAX_LIST_ITEMS) -> dict[str, Value]:
    """Decode one map; no list in it is longer than `max_items`.

    Re-encoding must give the same bytes: this catches duplicate keys, which decoders else drop silently, and every
    encoding that is not the shortest. (The same length would not do: a short float makes up for a duplicate key.)
    The decoder makes room for as many items as a list claims to have: nested claims would cost 60 MB a packet.

    Raises:
        ProtocolError: it is not exactly one map with string keys in its shortest encoding.
    """
    if len(packet) > max_bytes:
        raise ProtocolError(f"packet of more than {max_bytes} bytes")
    try:
        message = unpackb(packet, max_array_len=max_items)
        canonical = _pack(message)
    except Exception as error:
        # msgpack raises a dozen types, and each means the same here: not a msgpack value.
        raise ProtocolError(f"not a msgpack value: {str(error)[:80]}") from error
    if type(message) is not dict:
        raise ProtocolError(f"expected a map, got {type(message).__name__}")
    if canonical != packet:
        raise ProtocolError("duplicate keys, or not the shortest encoding")
    return message


def shorten(value: object) -> str:
    """Show a peer's value in an error message, whatever its size."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def refuse_unknown_keys(message: dict[str, Value], known: frozenset[str], what: str) -> None:
    """Raise ProtocolError when `message` has a key that is not in `known`."""
    for key in message:
        if key not in known:
            raise ProtocolError(f"unknown key {shorten(key)} in {what}")


def expect_int(value: object, low: int, high: int, what: str) -> int:
    """Return `value` if it is an int (no bool) of low..high, else raise ProtocolError."""
    if type(value) is not int or not low <= value <= high:
        raise ProtocolError(f"{what} must be an integer of {low}..{high}, got {shorten(value)}")
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
