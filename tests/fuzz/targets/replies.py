"""Packets and long answers of a broker, as the client reads them. A client trusts its broker no more than it must."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nsbroker import wire

from ..packets import mutator
from ..target import Target

KEYS = (
    "id", "namespaces", "sockets", "cookie", "ns", "address", "blob", "error", "code", "errno", "message", "index",
    "grants", "name", "bind", "options", "limit", "connect", "resolv_conf", "hosts", "origin", "files", "reason", "by",
    "binds_as_root", "exists", "lacks", *sorted(wire.CODES),
)  # fmt: skip
CODECS: tuple[tuple[Callable[[bytes], Any], Callable[[Any], bytes]], ...] = (
    (wire.decode_reply, wire.encode_reply),
    (wire.decode_namespaces, wire.encode_namespaces),
    (wire.decode_explanation, wire.encode_explanation),
    (wire.decode_resolver_files, wire.encode_resolver_files),
)


def check(data: bytes) -> None:
    """Check one packet with each decoder."""
    for decode, encode in CODECS:
        try:
            message = decode(data)
        except wire.ProtocolError as error:
            assert len(str(error)) < 300
            continue
        again = decode(encode(message))
        assert (type(again), again) == (type(message), message), f"{decode.__name__} gives another message"
        if isinstance(message, wire.OpenReply | wire.BlobReply):
            assert 1 <= wire.announced_descriptors(message) <= wire.MAX_SOCKETS


TARGET = Target(check, tuple(key.encode() for key in KEYS), mutate=mutator(KEYS))
