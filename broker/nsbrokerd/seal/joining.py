"""What the option program decides about multicast groups: who joins one sends to it, by the kernel's hand. Pure.

The report that the kernel sends names the group, and belongs to no socket. So a group may be joined if it is an
address to go to, by whatever port.
"""

from __future__ import annotations

import socket

from ..policy.rules import ALL_PORTS
from . import layout
from .assembly import R1, R2, R3, R4, R6, R9, STACK, Assembly
from .fragments import (
    LAST_PORT,
    Maps,
    find_limits,
    find_own_entry,
    go_if_anywhere,
    go_if_covered,
    put_ipv4,
    put_ipv6,
)

# Source: struct bpf_sockopt.
_SOCK, _VALUE, _VALUE_END, _LENGTH = 0, 8, 16, 32

# Source: include/uapi/linux/in.h, in6.h. The last two are of both levels.
JOINS_4 = {35: "IP_ADD_MEMBERSHIP", 39: "IP_ADD_SOURCE_MEMBERSHIP"}
JOINS_6 = {20: "IPV6_JOIN_GROUP"}
JOINS_ANY = {42: "MCAST_JOIN_GROUP", 46: "MCAST_JOIN_SOURCE_GROUP"}

_FAMILY_OF_32_BITS, _FAMILY, _GROUP_4, _GROUP_6 = 4, 8, 12, 16
"""Where a struct group_req has the family (as programs of 32 bits write it, and others), and the address."""

_MAX_BYTES = 1024
"""Of the value. It is shown to the program as it is used; but one of more than a page is read a second time."""


def go_if_joins(code: Assembly) -> None:
    """Go to the place that decides about this option if it joins a group; R1 is the level, R2 the option."""
    for level, own, version in ((socket.IPPROTO_IP, JOINS_4, 4), (socket.IPPROTO_IPV6, JOINS_6, 6)):
        code.go_if(R1, "!=", int(level), f"joins nothing of {version}")
        for option in own:
            code.go_if(R2, "==", option, f"join {version}")
        for option in JOINS_ANY:
            code.go_if(R2, "==", option, f"join by request {version}")
        code.label(f"joins nothing of {version}")


def decide_joins(code: Assembly, maps: Maps) -> None:
    """Decide; go to "allow" or "deny". Nothing comes here from above."""
    for place, family, offset, length in (
        ("join 4", None, 0, 4),
        ("join 6", None, 0, 16),
        ("join by request 4", int(socket.AF_INET), _GROUP_4, 4),
        ("join by request 6", int(socket.AF_INET6), _GROUP_6, 16),
    ):
        code.label(place)
        code.load(R1, R6, _LENGTH)
        code.go_if(R1, ">", _MAX_BYTES, "deny")
        code.load(R2, R6, _VALUE, 8)
        code.load(R3, R6, _VALUE_END, 8)
        code.copy(R1, R2)
        code.add(R1, offset + length)
        code.go_if_register(R1, ">", R3, "deny")
        if family is not None:
            # A program of 32 bits has the address elsewhere, after a family where others have a gap.
            code.load(R4, R2, _FAMILY_OF_32_BITS, 2)
            code.go_if(R4, "==", family, "deny")
            code.load(R4, R2, _FAMILY, 2)
            code.go_if(R4, "!=", family, "deny")
        if length == 4:
            code.load(R1, R2, offset)
            put_ipv4(code, R1)
        else:
            put_ipv6(code, R2, offset, place)
        code.go("decide about a group")
    code.label("decide about a group")
    code.load(R2, R6, _SOCK, 8)
    find_own_entry(code, maps, R2)
    find_limits(code, maps)
    go_if_anywhere(code, layout.CONNECT_COUNT, "allow")
    # Upside down: so any port of a rule will do.
    code.set(R9, ALL_PORTS[1])
    code.store_number(STACK, LAST_PORT, 0)
    go_if_covered(code, layout.CONNECT_COUNT, layout.CONNECT_RULES, "allow")
    code.go("deny")
