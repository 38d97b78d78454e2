"""The program for setsockopt(2). It refuses options by which packets could get past the limits. Pure.

The kernel asks no other program about these three:

1. Options that send packets elsewhere than their headers first say.
2. Joining a multicast group. The kernel then reports the group to the network by itself, in a packet that belongs to
   no socket. So a client may join a group only if a rule for connecting covers its address, with any port.
3. Copies of packets for sockets of the same namespace. For UDP-Lite, raw and ICMP sockets, the packet program decides
   when a packet leaves. But the kernel copies a multicast or broadcast of IPv4 before that, and the copy belongs to no
   socket. So these sockets can't send broadcasts, and can't loop multicasts back. IPv6 asks first. But a socket of IPv6
   can send IPv4 by UDP-Lite, and then its option of IPv6 decides about the loop. Source: ip_mc_output in
   net/ipv4/ip_output.c, sk_mc_loop in net/core/sock.c.
"""

from __future__ import annotations

import socket

from ...policy.rules import ALL_PORTS
from ..layout import CONNECT
from .assembly import R1, R2, R3, R4, R6, R9, STACK
from .code import LAST_PORT, SOCK_PROTOCOL, SOCK_TYPE, Code

# Source: struct bpf_sockopt.
_SOCK, _VALUE, _VALUE_END, _LEVEL, _NAME, _LENGTH = 0, 8, 16, 24, 28, 32

_IP, _IPV6 = int(socket.IPPROTO_IP), int(socket.IPPROTO_IPV6)

# Source: include/uapi/linux/in.h, in6.h. The packet program would drop their packets anyway, but this error is clearer.
_IPV6_2292RTHDR, _IPV6_2292PKTOPTIONS, _IPV6_HDRINCL = 5, 6, 36
REFUSED = {
    _IP: (socket.IP_HDRINCL, socket.IP_OPTIONS),
    _IPV6: (
        *(_IPV6_2292RTHDR, _IPV6_2292PKTOPTIONS, _IPV6_HDRINCL),
        *(socket.IPV6_HOPOPTS, socket.IPV6_RTHDRDSTOPTS, socket.IPV6_RTHDR, socket.IPV6_DSTOPTS),
    ),
}
_JOINS_4 = {35: "IP_ADD_MEMBERSHIP", 39: "IP_ADD_SOURCE_MEMBERSHIP"}
_JOINS_6 = {20: "IPV6_JOIN_GROUP"}
_JOINS_BY_REQUEST = {42: "MCAST_JOIN_GROUP", 46: "MCAST_JOIN_SOURCE_GROUP"}
"""Options of both levels."""
JOINS = {_IP: (*_JOINS_4, *_JOINS_BY_REQUEST), _IPV6: (*_JOINS_6, *_JOINS_BY_REQUEST)}
"""All options that join a group, by level."""
COPIES = ((int(socket.SOL_SOCKET), int(socket.SO_BROADCAST)), (_IP, int(socket.IP_MULTICAST_LOOP)))
COPIES_OF_UDPLITE = (_IPV6, int(socket.IPV6_MULTICAST_LOOP))
UDPLITE = 136
"""Source: include/uapi/linux/in.h."""
COPIED_PROTOCOLS = (int(socket.IPPROTO_ICMP), int(socket.IPPROTO_ICMPV6), UDPLITE)

_FAMILY_OF_32_BITS, _FAMILY, _GROUP_4, _GROUP_6 = 4, 8, 12, 16
"""Offsets in a struct group_req: the family (as programs of 32 bits write it, and as others do), and the address."""

_MAX_VALUE_BYTES = 1024
"""The kernel shows the program the value that it will use. But it reads a value of more than a page a second time."""


def check_option(code: Code) -> None:
    """Refuse the listed options, groups outside the limits, and copies that no program can check."""
    code.copy(R6, R1)
    code.load(R1, R6, _LEVEL)
    code.load(R2, R6, _NAME)
    for level, options in REFUSED.items():
        code.go_if(R1, "!=", level, f"not level {level}")
        for option in options:
            code.go_if(R2, "==", option, "deny")
        code.label(f"not level {level}")
    _find_option(code)
    code.label("allow")
    code.end(1)
    _check_groups(code)
    _check_copies(code)
    code.label("deny")
    code.end(0)


def _find_option(code: Code) -> None:
    """Jump to the code for this option. R1 is its level, R2 its number. Go on if no code is for it."""
    for level, joins, version in ((_IP, _JOINS_4, 4), (_IPV6, _JOINS_6, 6)):
        code.go_if(R1, "!=", level, f"joins nothing of {version}")
        for option in joins:
            code.go_if(R2, "==", option, f"join {version}")
        for option in _JOINS_BY_REQUEST:
            code.go_if(R2, "==", option, f"join by request {version}")
        code.label(f"joins nothing of {version}")
    for level, option in COPIES:
        code.go_if(R1, "!=", level, f"no copies by level {level}")
        code.go_if(R2, "==", option, "copies")
        code.label(f"no copies by level {level}")
    level, option = COPIES_OF_UDPLITE
    code.go_if(R1, "!=", level, "no copies of UDP-Lite")
    code.go_if(R2, "==", option, "copies of UDP-Lite")
    code.label("no copies of UDP-Lite")


def _check_groups(code: Code) -> None:
    """Allow a group that a rule for connecting covers."""
    for place, family, offset, length in (
        ("join 4", None, 0, 4),
        ("join 6", None, 0, 16),
        ("join by request 4", int(socket.AF_INET), _GROUP_4, 4),
        ("join by request 6", int(socket.AF_INET6), _GROUP_6, 16),
    ):
        code.label(place)
        _load_value(code, offset + length)
        if family is not None:
            # A program of 32 bits has the address elsewhere, and its family where other programs have a gap.
            code.load(R4, R2, _FAMILY_OF_32_BITS, 2)
            code.go_if(R4, "==", family, "deny")
            code.load(R4, R2, _FAMILY, 2)
            code.go_if(R4, "!=", family, "deny")
        if length == 4:
            code.load(R1, R2, offset)
            code.put_ipv4(R1)
        else:
            code.put_ipv6(R2, offset, place)
        code.go("decide about a group")
    code.label("decide about a group")
    code.load(R2, R6, _SOCK, 8)
    code.find_own_entry(R2)
    code.find_limits()
    code.go_if_anywhere(CONNECT, "allow")
    # The first port is above the last one, so that a rule for any single port is enough.
    code.set(R9, ALL_PORTS[1])
    code.store_number(STACK, LAST_PORT, 0)
    code.go_if_covered(CONNECT, "allow")
    code.go("deny")


def _check_copies(code: Code) -> None:
    """Let UDP-Lite, raw and ICMP sockets only turn copies off. Other sockets may do as they like."""
    code.label("copies of UDP-Lite")
    code.load(R2, R6, _SOCK, 8)
    code.load(R1, R2, SOCK_TYPE)
    code.go_if(R1, "==", int(socket.SOCK_RAW), "allow")
    code.load(R1, R2, SOCK_PROTOCOL)
    code.go_if(R1, "==", UDPLITE, "copies of packets")
    code.go("allow")
    code.label("copies")
    code.load(R2, R6, _SOCK, 8)
    code.load(R1, R2, SOCK_TYPE)
    code.go_if(R1, "==", int(socket.SOCK_RAW), "copies of packets")
    code.load(R1, R2, SOCK_PROTOCOL)
    for protocol in COPIED_PROTOCOLS:
        code.go_if(R1, "==", protocol, "copies of packets")
    code.go("allow")
    code.label("copies of packets")
    _load_value(code, 4)
    code.load(R1, R2, 0)
    code.go_if(R1, "==", 0, "allow")
    code.go("deny")


def _load_value(code: Code, length: int) -> None:
    """Load the address of the option's value into R2. Deny a value that is shorter than `length` bytes, or too long."""
    code.load(R1, R6, _LENGTH)
    code.go_if(R1, ">", _MAX_VALUE_BYTES, "deny")
    code.load(R2, R6, _VALUE, 8)
    code.load(R3, R6, _VALUE_END, 8)
    code.copy(R1, R2)
    code.add(R1, length)
    code.go_if_register(R1, ">", R3, "deny")
