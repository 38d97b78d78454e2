"""The programs that see packets: of kinds of sockets for which the kernel asks nowhere else, of revoked ones. Pure.

TCP and UDP are decided where they connect and send, with the addresses that the program meant: packets show them only
after NAT. But no packet of theirs, either, may take a way round by IPv4 options or IPv6 routing headers.
"""

from __future__ import annotations

import sys

from ..policy.rules import ALL_PORTS
from . import layout
from .assembly import R0, R1, R2, R3, R4, R6, R8, R9, STACK, Assembly
from .fragments import (
    LAST_PORT,
    SK_FULLSOCK,
    SOCK_PROTOCOL,
    SOCK_TYPE,
    Maps,
    find_entry,
    find_limits,
    go_if_anywhere,
    go_if_covered,
    put_ipv4,
    put_ipv6,
)

# Source: struct __sk_buff.
_PROTOCOL, _DATA, _DATA_END, _SOCK = 16, 76, 80, 168

_TCP, _UDP, _UDPLITE = 6, 17, 136
_SOCK_RAW = 3
_ETH_P_IP = int.from_bytes(b"\x08\x00", sys.byteorder)
_ETH_P_IPV6 = int.from_bytes(b"\x86\xdd", sys.byteorder)

_IPV4_BYTES, _IPV6_BYTES, _PORTS_BYTES = 20, 40, 4
_PLAIN_IPV4 = 0x45
"""The first byte of a header without options."""
_IS_FRAGMENT = int.from_bytes(b"\x3f\xff", sys.byteorder)
_IPV4_FRAGMENT, _IPV4_PROTOCOL, _IPV4_DESTINATION = 6, 9, 16
_IPV6_NEXT, _IPV6_DESTINATION = 6, 24
_HOP_BY_HOP = 0

_KEPT_PROTOCOL = -40


def _begin(code: Assembly, maps: Maps) -> None:
    code.copy(R6, R1)
    code.load(R1, R6, _SOCK, 8)
    code.go_if(R1, "==", 0, "deny")
    code.call(SK_FULLSOCK)
    code.go_if(R0, "==", 0, "deny")
    code.copy(R8, R0)
    find_entry(code, maps)


def check_incoming(code: Assembly, maps: Maps) -> None:
    """Nothing reaches a revoked socket."""
    _begin(code, maps)
    code.give(1)
    code.label("deny")
    code.give(0)


def check_outgoing(code: Assembly, maps: Maps) -> None:
    """Does the packet go where its header says, and, of kinds that nobody else decides about, is that allowed?"""
    _begin(code, maps)
    code.load(R9, R8, SOCK_PROTOCOL)
    code.load(R2, R6, _DATA)
    code.load(R3, R6, _DATA_END)
    code.load(R4, R6, _PROTOCOL)
    code.go_if(R4, "==", _ETH_P_IPV6, "version 6")
    code.go_if(R4, "!=", _ETH_P_IP, "deny")
    _check_ipv4_header(code)
    _allow_decided(code, "version 4")
    _put_ports(code, maps, _IPV4_BYTES, "version 4")
    code.load(R1, R2, _IPV4_DESTINATION)
    put_ipv4(code, R1)
    code.go("decide")

    code.label("version 6")
    _check_ipv6_header(code)
    _allow_decided(code, "version 6")
    _put_ports(code, maps, _IPV6_BYTES, "version 6")
    put_ipv6(code, R2, _IPV6_DESTINATION, "to")

    code.label("decide")
    go_if_covered(code, layout.CONNECT_COUNT, layout.CONNECT_RULES, "allow")
    code.label("deny")
    code.give(0)
    code.label("allow")
    code.give(1)


def _require(code: Assembly, length: int) -> None:
    """Deny packets that are shorter: R2 is where they begin, R3 where they end."""
    code.copy(R1, R2)
    code.add(R1, length)
    code.go_if_register(R1, ">", R3, "deny")


def _check_ipv4_header(code: Assembly) -> None:
    """No options, no fragment, and of the socket's own protocol."""
    _require(code, _IPV4_BYTES)
    code.load(R1, R2, 0, 1)
    code.go_if(R1, "!=", _PLAIN_IPV4, "deny")
    code.load(R1, R2, _IPV4_FRAGMENT, 2)
    code.mask_number(R1, _IS_FRAGMENT)
    code.go_if(R1, "!=", 0, "deny")
    code.load(R1, R2, _IPV4_PROTOCOL, 1)
    code.go_if_register(R1, "!=", R9, "deny")


def _check_ipv6_header(code: Assembly) -> None:
    """No header in between, but for the jumbo one that the kernel puts before large segments of TCP (BIG TCP)."""
    _require(code, _IPV6_BYTES)
    code.load(R1, R2, _IPV6_NEXT, 1)
    code.go_if_register(R1, "==", R9, "plain")
    code.go_if(R1, "!=", _HOP_BY_HOP, "deny")
    code.go_if(R9, "!=", _TCP, "deny")
    _require(code, _IPV6_BYTES + 1)
    code.load(R1, R2, _IPV6_BYTES, 1)
    code.go_if_register(R1, "!=", R9, "deny")
    code.label("plain")


def _allow_decided(code: Assembly, here: str) -> None:
    """TCP and UDP were decided about already, but for raw sockets."""
    code.load(R1, R8, SOCK_TYPE)
    code.go_if(R1, "==", _SOCK_RAW, f"{here}: undecided")
    code.go_if(R9, "==", _TCP, "allow")
    code.go_if(R9, "==", _UDP, "allow")
    code.label(f"{here}: undecided")


def _put_ports(code: Assembly, maps: Maps, header_bytes: int, here: str) -> None:
    """Find the limits; what is sent is to one port for UDP-Lite, else to any: a rule must cover them all."""
    code.load(R1, R8, SOCK_TYPE)
    code.store(STACK, _KEPT_PROTOCOL, R9)
    code.go_if(R1, "!=", _SOCK_RAW, f"{here}: kept")
    code.store_number(STACK, _KEPT_PROTOCOL, 0)
    code.label(f"{here}: kept")
    find_limits(code, maps)
    go_if_anywhere(code, layout.CONNECT_COUNT, "allow")
    code.load(R2, R6, _DATA)
    code.load(R3, R6, _DATA_END)
    code.set(R9, 0)
    code.store_number(STACK, LAST_PORT, ALL_PORTS[1])
    _require(code, header_bytes)
    code.load(R1, STACK, _KEPT_PROTOCOL)
    code.go_if(R1, "!=", _UDPLITE, f"{here}: ports are put")
    _require(code, header_bytes + _PORTS_BYTES)
    code.load(R9, R2, header_bytes + 2, 2)
    code.swap_port(R9)
    code.store(STACK, LAST_PORT, R9)
    code.label(f"{here}: ports are put")
