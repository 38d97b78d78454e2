"""The packets of the control socket: a request is a word, and perhaps a number. A reply is a JSON object.

A connection carries one request and its reply, or several of root. The reply to a request that was refused has the key
"error". Commands and broker are of the same version, so the packets are no interface for other programs: use
`nsbrokerd status --json`.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

STATUS, RELOAD, SOCKETS = "status", "reload", "sockets"
"""The words. `sockets` has a number: of the last entry that the caller knows already."""

WORDS = {STATUS: False, RELOAD: False, SOCKETS: True}
"""Whether a number belongs to the word."""

FOR_ROOT = frozenset({RELOAD, SOCKETS})
"""The words that only root may use."""

MAX_REQUEST_BYTES = 32
MAX_REPLY_BYTES = 2**17

_MAX_DIGITS = 18

ERROR = "error"

Fields = dict[str, Any]


class Request(NamedTuple):
    """A word, with its number or 0."""

    word: str
    number: int = 0


def encode_request(request: Request) -> bytes:
    """Return the packet of a request."""
    return (f"{request.word} {request.number}" if WORDS[request.word] else request.word).encode()


def decode_request(packet: bytes) -> Request | None:
    """Return the request of a packet, or None if it is none."""
    try:
        word, *rest = packet.decode("ascii").split(" ")
    except UnicodeDecodeError:
        return None
    if len(packet) > MAX_REQUEST_BYTES or word not in WORDS or len(rest) != WORDS[word]:
        return None
    if not all(number.isdecimal() and len(number) <= _MAX_DIGITS for number in rest):
        return None
    return Request(word, *map(int, rest))


def encode_reply(fields: Fields) -> bytes:
    """Return the packet of a reply. It can be too long."""
    return json.dumps(fields, separators=(",", ":")).encode()


def decode_reply(packet: bytes) -> Fields:
    """Return the fields of a reply.

    Raises:
        ValueError: it is none.
    """
    fields = json.loads(packet)
    if not isinstance(fields, dict):
        raise ValueError("the reply is no JSON object")
    return fields
