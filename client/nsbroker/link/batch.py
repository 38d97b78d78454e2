"""Cuts a batch of sockets into requests. Pure."""

from __future__ import annotations

import socket

from ..wire.bounds import MAX_PACKET_BYTES, MAX_SENT_FDS, MAX_SOCKETS
from ..wire.messages import SocketSpec
from ..wire.record import Record

_CLOEXEC = int(socket.SOCK_CLOEXEC)
_SPEC_BYTES = 128
"""More than a spec takes without its name, its options and its further addresses."""
_OPTION_BYTES = 18
_ADDRESS_BYTES = 64
"""More than a numeric address takes."""
_ENVELOPE_BYTES = 64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class Chunk(Record):
    """The part of a batch for one request: its specs as the wire has them, and the descriptors to lend with them.

    `first` is the index, in the batch, of the first spec.
    """

    first: int
    specs: tuple[SocketSpec, ...]
    fds: tuple[int, ...]


def split(specs: Iterable[SocketSpec]) -> list[Chunk]:
    """Cut a batch into requests that fit a packet each.

    If a namespace is an int, it is the caller's own descriptor here, and an index into `fds` in the chunks.

    Raises:
        TypeError: a namespace is neither a name nor a descriptor.
    """
    chunks: list[Chunk] = []
    taken: list[SocketSpec] = []
    fds: dict[int, int] = {}
    first = room = 0
    like: SocketSpec | None = None
    for spec in specs:
        namespace, _, socket_type, _, bind, _, options, also = spec
        # Mostly, sockets that follow each other differ only in their ports.
        if like is None or namespace is not like[0] or options is not like[6] or also or type(bind) is bytes:
            size, like = _most_bytes(spec), None if also or type(bind) is bytes else spec
        full = len(taken) == MAX_SOCKETS or size > room
        if full or (type(namespace) is int and namespace not in fds and len(fds) == MAX_SENT_FDS):
            if taken:
                chunks.append(Chunk(first, tuple(taken), tuple(fds)))
            first += len(taken)
            taken, fds, room = [], {}, MAX_PACKET_BYTES - _ENVELOPE_BYTES
        room -= size
        if type(namespace) is int:
            spec = spec._replace(namespace=fds.setdefault(namespace, len(fds)))
        if socket_type & _CLOEXEC:
            # The protocol does not know this flag, and descriptors arrive close-on-exec anyway.
            spec = spec._replace(type=socket_type & ~_CLOEXEC)
        taken.append(spec)
    if taken:
        chunks.append(Chunk(first, tuple(taken), tuple(fds)))
    return chunks


def _most_bytes(spec: SocketSpec) -> int:
    size = _SPEC_BYTES
    if type(spec.namespace) is str:
        size += len(spec.namespace) * (1 if spec.namespace.isascii() else 4)
    elif type(spec.namespace) is not int:
        raise TypeError(f"a namespace is a name or a descriptor, not {type(spec.namespace).__name__}")
    if type(spec.bind) is bytes:
        size += len(spec.bind)
    size += _ADDRESS_BYTES * len(spec.also)
    for _, _, value in spec.options:
        size += _OPTION_BYTES + (len(value) if type(value) is bytes else 0)
    return size
