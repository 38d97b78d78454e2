"""What the option program decides about copies of packets for the own host: no other program is asked. Pure.

Raw and ICMP sockets are decided about when a packet leaves. Of a multicast or broadcast of IPv4 the kernel hands a copy
to the sockets of the same namespace before that, and as a packet of nobody's. So these kinds send no broadcasts, and
their multicasts are not looped back. Source: ip_mc_output in net/ipv4/ip_output.c; IPv6 asks first.
"""

from __future__ import annotations

from .assembly import R1, R2, R3, R4, R6, Assembly
from .fragments import SOCK_PROTOCOL, SOCK_TYPE

# Source: struct bpf_sockopt.
_SOCK, _VALUE, _VALUE_END, _LENGTH = 0, 8, 16, 32

_SOL_SOCKET, _SO_BROADCAST = 1, 6
IPPROTO_IP, IP_MULTICAST_LOOP = 0, 34
SOCK_RAW = 3
ICMP = 1
_ICMPV6 = 58

_INT_BYTES = 4
_MAX_BYTES = 1024
"""Of the value: one of more than a page is read a second time."""


def go_if_copies(code: Assembly) -> None:
    """Go to the place that decides about this option if it asks for copies; R1 is the level, R2 the option."""
    for level, option in ((_SOL_SOCKET, _SO_BROADCAST), (IPPROTO_IP, IP_MULTICAST_LOOP)):
        code.go_if(R1, "!=", level, f"no copies by level {level}")
        code.go_if(R2, "==", option, "copies")
        code.label(f"no copies by level {level}")


def decide_copies(code: Assembly) -> None:
    """Decide; go to "allow" or "deny". Nothing comes here from above. Nobody is refused to turn them off."""
    code.label("copies")
    code.load(R2, R6, _SOCK, 8)
    code.load(R1, R2, SOCK_TYPE)
    code.go_if(R1, "==", SOCK_RAW, "copies of packets")
    code.load(R1, R2, SOCK_PROTOCOL)
    code.go_if(R1, "==", ICMP, "copies of packets")
    code.go_if(R1, "!=", _ICMPV6, "allow")
    code.label("copies of packets")
    code.load(R1, R6, _LENGTH)
    code.go_if(R1, ">", _MAX_BYTES, "deny")
    code.load(R3, R6, _VALUE, 8)
    code.load(R4, R6, _VALUE_END, 8)
    code.copy(R1, R3)
    code.add(R1, _INT_BYTES)
    code.go_if_register(R1, ">", R4, "deny")
    code.load(R1, R3, 0, _INT_BYTES)
    code.go_if(R1, "==", 0, "allow")
    code.go("deny")
