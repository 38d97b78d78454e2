"""The programs that see packets, for sockets that the other programs can't check. Pure.

TCP and UDP are checked when they connect and send, by the addresses that the client passed: a packet shows its address
only after NAT. But TCP and UDP packets must not take a detour by IPv4 options or IPv6 routing headers either.
"""

from __future__ import annotations

import socket
import sys

from ...policy.rules import ALL_PORTS
from ..layout import CONNECT
from .assembly import R0, R1, R2, R3, R4, R6, R8, R9, STACK
from .code import LAST_PORT, SOCK_PROTOCOL, SOCK_TYPE, Code

# Source: struct __sk_buff.
_LENGTH, _PROTOCOL, _DATA, _DATA_END, _SOCK = 0, 16, 76, 80, 168

_SK_FULLSOCK = 95
"""A helper. Source: include/uapi/linux/bpf.h."""

_TCP, _UDP, _UDPLITE, _SCTP = int(socket.IPPROTO_TCP), int(socket.IPPROTO_UDP), 136, int(socket.IPPROTO_SCTP)
_SOCK_RAW = int(socket.SOCK_RAW)
_ETH_P_IP = int.from_bytes(b"\x08\x00", sys.byteorder)
_ETH_P_IPV6 = int.from_bytes(b"\x86\xdd", sys.byteorder)

_IPV4_BYTES, _IPV6_BYTES, _PORTS_BYTES = 20, 40, 4
_PLAIN_IPV4 = 0x45
"""The first byte of a header without options."""
_IS_FRAGMENT = int.from_bytes(b"\x3f\xff", sys.byteorder)
_IPV4_FRAGMENT, _IPV4_PROTOCOL, _IPV4_DESTINATION = 6, 9, 16
_IPV6_NEXT, _IPV6_DESTINATION = 6, 24
_HOP_BY_HOP = 0

# Source: RFC 9260, sections 3.1 and 3.3.7.
_CHUNK_AT, _ABORT_BYTES = 12, 16
_ABORT = 6

_KEPT_PROTOCOL = -40


def _begin(code: Code, no_socket: str) -> None:
    """Find the socket and its entry. Jump to the label `no_socket` if the packet has no full socket."""
    code.copy(R6, R1)
    code.load(R1, R6, _SOCK, 8)
    code.go_if(R1, "==", 0, no_socket)
    code.call(_SK_FULLSOCK)
    code.go_if(R0, "==", 0, no_socket)
    code.copy(R8, R0)
    code.find_entry()


def check_incoming(code: Code) -> None:
    """Drop each packet to a stopped socket, except one that only ends an association: see `_allow_end`."""
    _begin(code, no_socket="drop")
    code.label("allow")
    code.end(1)
    code.label("deny")
    _allow_end(code)
    code.label("drop")
    code.end(0)


def _allow_end(code: Code) -> None:
    """Allow a packet that only ends an association of SCTP: ABORT, without a cause. The broker itself sends these.

    A raw socket would receive the packet itself.
    """
    code.load(R1, R8, SOCK_PROTOCOL)
    code.go_if(R1, "!=", _SCTP, "drop")
    code.load(R1, R8, SOCK_TYPE)
    code.go_if(R1, "==", _SOCK_RAW, "drop")
    code.load(R2, R6, _DATA)
    code.load(R3, R6, _DATA_END)
    code.load(R4, R6, _PROTOCOL)
    for protocol, header_bytes, next_at in (
        (_ETH_P_IP, _IPV4_BYTES, _IPV4_PROTOCOL),
        (_ETH_P_IPV6, _IPV6_BYTES, _IPV6_NEXT),
    ):
        other = f"not of protocol {protocol:#x}"
        code.go_if(R4, "!=", protocol, other)
        code.load(R1, R6, _LENGTH)
        code.go_if(R1, "!=", header_bytes + _ABORT_BYTES, "drop")
        code.copy(R1, R2)
        code.add(R1, header_bytes + _ABORT_BYTES)
        code.go_if_register(R1, ">", R3, "drop")
        code.load(R1, R2, next_at, 1)
        code.go_if(R1, "!=", _SCTP, "drop")
        code.load(R1, R2, header_bytes + _CHUNK_AT, 1)
        code.go_if(R1, "==", _ABORT, "allow")
        code.label(other)


def check_outgoing(code: Code) -> None:
    """Allow a packet that takes no detour. Other sockets than TCP and UDP also need a rule for its destination."""
    _begin(code, no_socket="deny")
    code.load(R9, R8, SOCK_PROTOCOL)
    code.load(R2, R6, _DATA)
    code.load(R3, R6, _DATA_END)
    code.load(R4, R6, _PROTOCOL)
    code.go_if(R4, "==", _ETH_P_IPV6, "version 6")
    code.go_if(R4, "!=", _ETH_P_IP, "deny")
    _check_ipv4_header(code)
    _put_ports(code, _IPV4_BYTES)
    code.load(R1, R2, _IPV4_DESTINATION)
    code.put_ipv4(R1)
    code.go("decide")

    code.label("version 6")
    _check_ipv6_header(code)
    _put_ports(code, _IPV6_BYTES)
    code.put_ipv6(R2, _IPV6_DESTINATION, "to")

    code.label("decide")
    code.go_if_covered(CONNECT, "allow")
    code.end_with_verdict()


def _require(code: Code, length: int) -> None:
    """Deny a packet that is shorter than `length` bytes. R2 is its start, R3 its end."""
    code.copy(R1, R2)
    code.add(R1, length)
    code.go_if_register(R1, ">", R3, "deny")


def _check_ipv4_header(code: Code) -> None:
    """Deny options, fragments, and other protocols than the socket's own."""
    _require(code, _IPV4_BYTES)
    code.load(R1, R2, 0, 1)
    code.go_if(R1, "!=", _PLAIN_IPV4, "deny")
    code.load(R1, R2, _IPV4_FRAGMENT, 2)
    code.mask_number(R1, _IS_FRAGMENT)
    code.go_if(R1, "!=", 0, "deny")
    code.load(R1, R2, _IPV4_PROTOCOL, 1)
    code.go_if_register(R1, "!=", R9, "deny")


def _check_ipv6_header(code: Code) -> None:
    """Deny extension headers, except the jumbo header that the kernel puts before large segments of TCP (BIG TCP)."""
    _require(code, _IPV6_BYTES)
    code.load(R1, R2, _IPV6_NEXT, 1)
    code.go_if_register(R1, "==", R9, "plain")
    code.go_if(R1, "!=", _HOP_BY_HOP, "deny")
    code.go_if(R9, "!=", _TCP, "deny")
    _require(code, _IPV6_BYTES + 1)
    code.load(R1, R2, _IPV6_BYTES, 1)
    code.go_if_register(R1, "!=", R9, "deny")
    code.label("plain")


def _put_ports(code: Code, header_bytes: int) -> None:
    """Find the limits, and require a rule for one port (UDP-Lite, SCTP) or for all ports (other protocols).

    Allow packets of TCP and UDP sockets, because other programs have checked them. But check packets of raw sockets.
    """
    here = f"after {header_bytes} bytes"
    code.load(R1, R8, SOCK_TYPE)
    code.go_if(R1, "==", _SOCK_RAW, f"{here}: undecided")
    code.go_if(R9, "==", _TCP, "allow")
    code.go_if(R9, "==", _UDP, "allow")
    code.label(f"{here}: undecided")
    code.load(R1, R8, SOCK_TYPE)
    code.store(STACK, _KEPT_PROTOCOL, R9)
    code.go_if(R1, "!=", _SOCK_RAW, f"{here}: kept")
    code.store_number(STACK, _KEPT_PROTOCOL, 0)
    code.label(f"{here}: kept")
    code.find_limits()
    code.go_if_anywhere(CONNECT, "allow")
    code.load(R2, R6, _DATA)
    code.load(R3, R6, _DATA_END)
    code.set(R9, 0)
    code.store_number(STACK, LAST_PORT, ALL_PORTS[1])
    _require(code, header_bytes)
    code.load(R1, STACK, _KEPT_PROTOCOL)
    code.go_if(R1, "==", _UDPLITE, f"{here}: has ports")
    code.go_if(R1, "!=", _SCTP, f"{here}: ports are put")
    code.label(f"{here}: has ports")
    _require(code, header_bytes + _PORTS_BYTES)
    code.load(R9, R2, header_bytes + 2, 2)
    code.swap_port(R9)
    code.store(STACK, LAST_PORT, R9)
    code.label(f"{here}: ports are put")
