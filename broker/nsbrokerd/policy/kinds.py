"""Kinds of sockets: the policy's words for families, types and protocols of socket(2).

The broker calls socket(2) only with a triple of this table. For an unknown protocol, the kernel would look for a module
to load, which takes hundreds of milliseconds and runs a program of the host as root.
"""

from __future__ import annotations

import socket

from nsbroker.wire import SocketSpec
from nsbroker.wire.kind_names import NETLINK_PROTOCOLS, RAW_PROTOCOLS

Triple = tuple[int, int, int]
"""Family, type (without flags) and protocol, as in socket(2)."""

_STREAM = int(socket.SOCK_STREAM)
_DGRAM = int(socket.SOCK_DGRAM)
_RAW = int(socket.SOCK_RAW)
_SEQPACKET = int(socket.SOCK_SEQPACKET)
_SOCK_NONBLOCK = int(socket.SOCK_NONBLOCK)
_INET = int(socket.AF_INET)
_INET6 = int(socket.AF_INET6)
_IPPROTO_ICMPV6 = 58
_IPPROTO_UDPLITE = 136
_IPPROTO_MPTCP = 262

PORT_KINDS = frozenset({"tcp", "udp", "udplite", "mptcp", "sctp"})
"""Kinds whose addresses have ports. Low ports are privileged."""


def _table() -> dict[Triple, str]:
    kinds: dict[Triple, str] = {
        (_INET, _DGRAM, int(socket.IPPROTO_ICMP)): "icmp",
        (_INET6, _DGRAM, _IPPROTO_ICMPV6): "icmp",
        # Protocol 0 until bound: with another one, the socket would receive every packet of the namespace at once.
        (int(socket.AF_PACKET), _RAW, 0): "packet",
        (int(socket.AF_PACKET), _DGRAM, 0): "packet",
    }
    for family in (_INET, _INET6):
        for protocol in (0, int(socket.IPPROTO_TCP)):
            kinds[family, _STREAM, protocol] = "tcp"
        for protocol in (0, int(socket.IPPROTO_UDP)):
            kinds[family, _DGRAM, protocol] = "udp"
        kinds[family, _DGRAM, _IPPROTO_UDPLITE] = "udplite"
        kinds[family, _STREAM, _IPPROTO_MPTCP] = "mptcp"
        for socket_type in (_STREAM, _SEQPACKET):
            kinds[family, socket_type, int(socket.IPPROTO_SCTP)] = "sctp"
        for name, protocol in RAW_PROTOCOLS.items():
            kinds[family, _RAW, protocol] = f"raw:{name}"
    for socket_type in (_STREAM, _DGRAM, _SEQPACKET):
        kinds[int(socket.AF_UNIX), socket_type, 0] = "unix"
    for name, protocol in NETLINK_PROTOCOLS.items():
        for socket_type in (_RAW, _DGRAM):
            kinds[int(socket.AF_NETLINK), socket_type, protocol] = f"netlink:{name}"
    return kinds


KIND_OF_TRIPLE = _table()
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
