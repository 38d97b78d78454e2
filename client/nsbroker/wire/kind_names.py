"""Kinds of sockets: the policy's words for families, types and protocols of socket(2).

The broker calls socket(2) only with a triple of this table. For an unknown protocol, the kernel would look for a module
to load, which takes hundreds of milliseconds and runs a program of the host as root.
"""

from __future__ import annotations

import socket

Triple = tuple[int, int, int]
"""Family, type (without flags) and protocol, as in socket(2)."""

# Source: include/uapi/linux/netlink.h. Debian's kernels have these, and each answers for one network namespace.
NETLINK_PROTOCOLS = {"route": 0, "sock_diag": 4, "xfrm": 6, "netfilter": 12, "generic": 16}

# Source: IANA protocol numbers, with the names of /etc/protocols.
RAW_PROTOCOLS = {
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

_STREAM, _DGRAM, _RAW = int(socket.SOCK_STREAM), int(socket.SOCK_DGRAM), int(socket.SOCK_RAW)
_SEQPACKET = int(socket.SOCK_SEQPACKET)
_INET, _INET6 = int(socket.AF_INET), int(socket.AF_INET6)
_IPPROTO_ICMPV6 = 58
_IPPROTO_UDPLITE = 136
_IPPROTO_MPTCP = 262


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
