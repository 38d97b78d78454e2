"""The kinds of sockets that `--type` names, as socket(2) has them: the words of the broker's policy. Pure."""

from __future__ import annotations

import socket

from .failure import usage_error

_STREAM = int(socket.SOCK_STREAM)
_DGRAM = int(socket.SOCK_DGRAM)
_RAW = int(socket.SOCK_RAW)
_ICMP = 1
_ICMPV6 = 58

_INET_KINDS = {
    "tcp": (_STREAM, 0),
    "udp": (_DGRAM, 0),
    "udplite": (_DGRAM, 136),
    "mptcp": (_STREAM, 262),
    "sctp": (_STREAM, 132),
}
# Source: IANA protocol numbers, as in /etc/protocols.
_RAW_PROTOCOLS = {
    "icmp": 1,
    "igmp": 2,
    "tcp": 6,
    "udp": 17,
    "gre": 47,
    "esp": 50,
    "ah": 51,
    "icmpv6": 58,
    "ospf": 89,
    "pim": 103,
    "vrrp": 112,
    "sctp": 132,
    "udplite": 136,
    "raw": 255,
}
# Source: include/uapi/linux/netlink.h.
_NETLINK_PROTOCOLS = {"route": 0, "sock_diag": 4, "xfrm": 6, "netfilter": 12, "generic": 16}


def triple_of(kind: str, family: int) -> tuple[int, int, int]:
    """Give family, type and protocol of a kind; `family`, AF_INET or AF_INET6, is for those that exist for both.

    Raises:
        FailureError: there is no such kind.
    """
    name, _, protocol = kind.partition(":")
    if kind in _INET_KINDS:
        return (family, *_INET_KINDS[kind])
    if kind == "icmp":
        return family, _DGRAM, _ICMPV6 if family == socket.AF_INET6 else _ICMP
    if kind == "packet":
        return int(socket.AF_PACKET), _RAW, 0
    if name == "raw" and protocol in _RAW_PROTOCOLS:
        return family, _RAW, _RAW_PROTOCOLS[protocol]
    if name == "netlink" and protocol in _NETLINK_PROTOCOLS:
        return int(socket.AF_NETLINK), _RAW, _NETLINK_PROTOCOLS[protocol]
    raise usage_error(f"--type {kind}: not one of {', '.join(_all_kinds())}")


def _all_kinds() -> list[str]:
    raw = [f"raw:{name}" for name in _RAW_PROTOCOLS]
    return [*_INET_KINDS, "icmp", "packet", *raw, *(f"netlink:{name}" for name in _NETLINK_PROTOCOLS)]
