"""The kinds of sockets that `--type` names, as socket(2) has them: the words of the broker's policy. Pure."""

from __future__ import annotations

import socket

from ..wire.kind_names import NETLINK_PROTOCOLS, RAW_PROTOCOLS
from .failure import usage_error

_STREAM = int(socket.SOCK_STREAM)
_DGRAM = int(socket.SOCK_DGRAM)
_RAW = int(socket.SOCK_RAW)
_ICMP = 1
_ICMPV6 = 58

PORT_KINDS = {
    "tcp": (_STREAM, 0),
    "udp": (_DGRAM, 0),
    "udplite": (_DGRAM, 136),
    "mptcp": (_STREAM, 262),
    "sctp": (_STREAM, 132),
}
"""Those whose addresses have ports, with type and protocol."""


def triple_of(kind: str, family: int) -> tuple[int, int, int]:
    """Give family, type and protocol of a kind; `family`, AF_INET or AF_INET6, is for those that exist for both.

    Raises:
        FailureError: there is no such kind.
    """
    name, _, protocol = kind.partition(":")
    if kind in PORT_KINDS:
        return (family, *PORT_KINDS[kind])
    if kind == "icmp":
        return family, _DGRAM, _ICMPV6 if family == socket.AF_INET6 else _ICMP
    if kind == "packet":
        return int(socket.AF_PACKET), _RAW, 0
    if name == "raw" and protocol in RAW_PROTOCOLS:
        return family, _RAW, RAW_PROTOCOLS[protocol]
    if name == "netlink" and protocol in NETLINK_PROTOCOLS:
        return int(socket.AF_NETLINK), _RAW, NETLINK_PROTOCOLS[protocol]
    raise usage_error(f"--type {kind}: not one of {', '.join(_all_kinds())}")


def _all_kinds() -> list[str]:
    raw = [f"raw:{name}" for name in RAW_PROTOCOLS]
    return [*PORT_KINDS, "icmp", "packet", *raw, *(f"netlink:{name}" for name in NETLINK_PROTOCOLS)]
