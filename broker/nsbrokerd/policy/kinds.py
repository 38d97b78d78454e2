"""Kinds of sockets, as the policy needs them."""

from __future__ import annotations

import socket

from nsbroker.wire import SocketSpec
from nsbroker.wire.kind_names import KIND_OF_TRIPLE, Triple

__all__ = ["KINDS", "KIND_OF_TRIPLE", "PORT_KINDS", "Triple", "is_inet", "triple_of", "triples_of"]

_SOCK_NONBLOCK = int(socket.SOCK_NONBLOCK)

PORT_KINDS = frozenset({"tcp", "udp", "udplite", "mptcp", "sctp"})
"""Kinds whose addresses have ports. Low ports are privileged."""

KINDS = tuple(dict.fromkeys(sorted(KIND_OF_TRIPLE.values())))


def triple_of(spec: SocketSpec) -> Triple:
    """Return the triple of a requested socket."""
    return spec.family, spec.type & ~_SOCK_NONBLOCK, spec.proto


def triples_of(kind: str) -> list[Triple]:
    """List the triples of a kind."""
    return [triple for triple, name in KIND_OF_TRIPLE.items() if name == kind]


def is_inet(kind: str) -> bool:
    """Return whether sockets of this kind speak IP."""
    return kind in PORT_KINDS or kind == "icmp" or kind.startswith("raw:")
