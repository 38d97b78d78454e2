"""One test packet, and the ways to build it."""

from __future__ import annotations

from dataclasses import dataclass

import msgpack


@dataclass
class Case:
    """A packet that means something, or gives an error. See client/docs/protocol.md, section 8."""

    name: str
    packet: bytes
    means: dict | None = None
    error: dict | None = None
    encodes_to: bytes | None = None
    fds: int = 0


def good(name: str, message: dict, means: dict, **more) -> Case:
    return Case(name, msgpack.packb(message), means=means, **more)


def written_out(name: str, message: dict, short: dict, means: dict) -> Case:
    """A packet that spells out its defaults, and the shorter one that says the same."""
    return Case(name, msgpack.packb(message), means=means, encodes_to=msgpack.packb(short))


def bad(name: str, message: object, **error) -> Case:
    """A packet to refuse. A message that is bytes already is the packet itself."""
    packet = message if isinstance(message, bytes) else msgpack.packb(message)
    return Case(name, packet, error=error)


def raw_map(*pairs: bytes) -> bytes:
    """A map of up to 15 pairs that are encoded already: for keys that occur twice, and long encodings."""
    return bytes([0x80 | len(pairs)]) + b"".join(pairs)


def pair(key: object, value: object) -> bytes:
    return msgpack.packb(key) + msgpack.packb(value)
