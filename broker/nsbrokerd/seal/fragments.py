"""What the seal's programs have in common: find the socket's entry and its limits, decide about an address. Pure.

A program ends at the label "deny" when anything that it needs is not there. R6 is the context; R8 is the socket, and
from `find_limits` on the limits of its grant; R7 is the entry from `find_entry` to `find_limits`.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

from ..policy.limit import MAX_RULES
from . import layout
from .assembly import R0, R1, R2, R3, R4, R5, R7, R8, R9, STACK, Assembly

MAP_LOOKUP, TAIL_CALL, SOCKET_COOKIE, SK_FULLSOCK, SK_STORAGE_GET, SEQ_WRITE, TO_MPTCP_SOCK = (
    *(1, 12, 46, 95, 107, 127, 196),
)
"""Helpers by their numbers. Source: include/uapi/linux/bpf.h."""
_CREATE = 1

ADDRESS = -16
"""Where on the stack the address is that is decided about."""
_KEY = -24
FAMILY, LAST_PORT = -32, -28
"""The address's family; the last of the ports that must be covered (R9 is the first one)."""

MAPPED_PREFIX = int.from_bytes(b"\0\0\xff\xff", sys.byteorder)
"""The third word of a v4-mapped address, as it is loaded."""

# Source: struct bpf_sock.
SOCK_TYPE, SOCK_PROTOCOL, SOCK_SOURCE_4, SOCK_SOURCE_6, SOCK_SOURCE_PORT = 8, 12, 24, 28, 44


class Maps(NamedTuple):
    """Descriptors of the maps that the programs use."""

    sockets: int
    limits: int


def find_entry(code: Assembly, maps: Maps) -> None:
    """Find the entry of the socket in R8, not revoked.

    A subflow of MPTCP takes over the entry of its parent: plain TCP connections that it accepts are copies of it.
    """
    _get_storage(code, maps, R8)
    code.go_if(R0, "!=", 0, "found")
    code.copy(R1, R8)
    code.call(TO_MPTCP_SOCK)
    code.go_if(R0, "==", 0, "deny")
    _get_storage(code, maps, R0)
    code.go_if(R0, "==", 0, "deny")
    code.copy(R3, R0)
    code.set_map(R1, maps.sockets)
    code.copy(R2, R8)
    code.set(R4, _CREATE)
    code.call(SK_STORAGE_GET)
    code.go_if(R0, "==", 0, "deny")
    code.label("found")
    _take_entry(code)


def find_own_entry(code: Assembly, maps: Maps, socket: int) -> None:
    """Find the entry of a socket, not revoked; where the kernel does not tell the parent of a subflow of MPTCP."""
    _get_storage(code, maps, socket)
    code.go_if(R0, "==", 0, "deny")
    _take_entry(code)


def _take_entry(code: Assembly) -> None:
    code.copy(R7, R0)
    code.load(R1, R7, layout.ENTRY_FLAGS)
    code.mask_number(R1, layout.REVOKED)
    code.go_if(R1, "!=", 0, "deny")


def _get_storage(code: Assembly, maps: Maps, socket: int) -> None:
    code.copy(R2, socket)
    code.set_map(R1, maps.sockets)
    code.set(R3, 0)
    code.set(R4, 0)
    code.call(SK_STORAGE_GET)


def find_limits(code: Assembly, maps: Maps) -> None:
    """Find the limits of the entry's grant; a grant that is no more lets nothing pass."""
    code.store_number(STACK, _KEY, 0)
    code.set_map(R1, maps.limits)
    code.copy(R2, STACK)
    code.add(R2, _KEY)
    code.call(MAP_LOOKUP)
    code.go_if(R0, "==", 0, "deny")
    code.load(R1, R7, layout.ENTRY_GRANT, 8)
    code.store(STACK, _KEY, R1, 8)
    code.copy(R1, R0)
    code.copy(R2, STACK)
    code.add(R2, _KEY)
    code.call(MAP_LOOKUP)
    code.go_if(R0, "==", 0, "deny")
    code.copy(R8, R0)


def go_if_anywhere(code: Assembly, count: int, label: str) -> None:
    """Go to `label` if there is no limit; `count` is where the number of its rules is."""
    code.load(R1, R8, count)
    code.set_double_word(R2, layout.ANYWHERE)
    code.go_if_register(R1, "==", R2, label)


def put_ipv4(code: Assembly, address: int) -> None:
    """Take a register's 4 bytes as the address to decide about."""
    code.store_number(STACK, ADDRESS, 0, 8)
    code.store_number(STACK, ADDRESS + 8, 0, 8)
    code.store(STACK, ADDRESS, address)
    code.store_number(STACK, FAMILY, layout.IPV4)


def put_ipv6(code: Assembly, base: int, offset: int, prefix: str) -> None:
    """Take the 16 bytes at `base + offset` as the address to decide about; a v4-mapped one is IPv4."""
    for word in range(0, 16, 4):
        code.load(R1, base, offset + word)
        code.store(STACK, ADDRESS + word, R1)
    code.store_number(STACK, FAMILY, layout.IPV6)
    code.load(R1, STACK, ADDRESS, 8)
    code.go_if(R1, "!=", 0, f"{prefix}.is put")
    code.load(R1, STACK, ADDRESS + 8)
    code.set_double_word(R2, MAPPED_PREFIX)
    code.go_if_register(R1, "!=", R2, f"{prefix}.is put")
    code.load(R1, STACK, ADDRESS + 12)
    put_ipv4(code, R1)
    code.label(f"{prefix}.is put")


def mark_unspecified(code: Assembly) -> None:
    """As a destination, the address of zeros stands for one that the kernel will choose."""
    code.load(R1, STACK, ADDRESS, 8)
    code.load(R2, STACK, ADDRESS + 8, 8)
    code.merge(R1, R2)
    code.go_if(R1, "!=", 0, "is specified")
    code.store_number(STACK, FAMILY, layout.UNSPECIFIED)
    code.label("is specified")


def go_if_covered(code: Assembly, count: int, rules: int, label: str) -> None:
    """Go to `label` if a rule covers the address and the ports from R9 to LAST_PORT; else to the next line.

    Args:
        code: the program.
        count: where in the limits the number of rules is.
        rules: where they begin.
        label: where to go.
    """
    here = f"rules at {rules}, {label}"
    rule, number, first_word, second_word, index = R1, R2, R3, R4, R7
    code.load(number, R8, count)
    code.go_if(number, ">", MAX_RULES, "deny")
    code.load(first_word, STACK, ADDRESS, 8)
    code.load(second_word, STACK, ADDRESS + 8, 8)
    code.copy(rule, R8)
    code.add(rule, rules)
    code.set(index, 0)
    code.label(f"{here}: look")
    code.go_if_register(index, ">=", number, f"{here}: none")
    code.go_if(index, ">=", MAX_RULES, f"{here}: none")
    code.load(R5, rule, layout.RULE_FIRST_PORT, 2)
    code.go_if_register(R5, ">", R9, f"{here}: next")
    code.load(R5, rule, layout.RULE_LAST_PORT, 2)
    code.load(R0, STACK, LAST_PORT)
    code.go_if_register(R5, "<", R0, f"{here}: next")
    code.load(R5, rule, layout.RULE_FAMILY)
    code.go_if(R5, "==", layout.ANY_FAMILY, label)
    code.load(R0, STACK, FAMILY)
    code.go_if_register(R5, "!=", R0, f"{here}: next")
    for word, offset in ((first_word, 0), (second_word, 8)):
        code.load(R5, rule, layout.RULE_MASK + offset, 8)
        code.mask(R5, word)
        code.load(R0, rule, layout.RULE_NETWORK + offset, 8)
        code.go_if_register(R5, "!=", R0, f"{here}: next")
    code.go(label)
    code.label(f"{here}: next")
    code.add(rule, layout.RULE.size)
    code.add(index, 1)
    code.go(f"{here}: look")
    code.label(f"{here}: none")
