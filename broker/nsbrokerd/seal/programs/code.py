"""The code that the programs share: find a socket's entry and limits, and compare an address with rules. Pure.

All programs use the registers in the same way. R6 is the context. R8 is the socket, and after `find_limits` it is the
limits of the socket's grant. R7 is the entry, from `find_entry` to `find_limits`. A program jumps to its label "deny"
if it misses anything that it needs.
"""

from __future__ import annotations

import sys

from ...policy.limit import MAX_RULES
from .. import layout
from ..layout import RuleList
from .assembly import R0, R1, R2, R3, R4, R5, R7, R8, R9, STACK, Assembly

# Source: include/uapi/linux/bpf.h, the numbers of the helpers.
_MAP_LOOKUP, _SK_STORAGE_GET, _TO_MPTCP_SOCK = 1, 107, 196
_CREATE = 1

ADDRESS = -16
"""Offset on the stack of the address that is compared with rules."""
_KEY = -24
_FAMILY, LAST_PORT = -32, -28
"""Offsets of the address's family, and of the last port that a rule must cover. R9 is the first one."""

_MAPPED_PREFIX = int.from_bytes(b"\0\0\xff\xff", sys.byteorder)
"""The third word of a v4-mapped address, as a program loads it."""

# Source: struct bpf_sock.
SOCK_TYPE, SOCK_PROTOCOL, SOCK_SOURCE_4, SOCK_SOURCE_6, SOCK_SOURCE_PORT = 8, 12, 24, 28, 44


class Code(Assembly):
    """A program under construction, for two maps: entries of sockets, and limits of grants."""

    def __init__(self, sockets_fd: int, limits_fd: int) -> None:
        """Start a program that uses these maps. The descriptors stay the caller's."""
        super().__init__()
        self._sockets_fd = sockets_fd
        self._limits_fd = limits_fd

    def find_entry(self) -> None:
        """Find the entry of the socket in R8. Deny a socket that was cut off.

        A subflow of MPTCP inherits its parent's entry, because the plain TCP connections that it accepts are copies
        of it.
        """
        self._get_storage(R8)
        self.go_if(R0, "!=", 0, "found")
        self.copy(R1, R8)
        self.call(_TO_MPTCP_SOCK)
        self.go_if(R0, "==", 0, "deny")
        self._get_storage(R0)
        self.go_if(R0, "==", 0, "deny")
        self.create_entry(R8, R0)
        self.go_if(R0, "==", 0, "deny")
        self.label("found")
        self._take_entry()

    def find_own_entry(self, socket: int) -> None:
        """Find a socket's own entry, for hooks that can't call the helper for the parent of an MPTCP subflow."""
        self._get_storage(socket)
        self.go_if(R0, "==", 0, "deny")
        self._take_entry()

    def find_entry_or_go(self, socket: int, label: str) -> None:
        """Find a socket's own entry, and jump to `label` if it has none. Deny a socket that was cut off."""
        self.find_any_entry_or_go(socket, label)
        self._take_entry()

    def find_any_entry_or_go(self, socket: int, label: str) -> None:
        """Find a socket's own entry, also that of a socket that was cut off."""
        self._get_storage(socket)
        self.go_if(R0, "==", 0, label)
        self.copy(R7, R0)

    def create_entry(self, socket: int, entry: int) -> None:
        """Give a socket a copy of an entry. R0 is the copy, or 0 without memory."""
        self.copy(R3, entry)
        self.set_map(R1, self._sockets_fd)
        self.copy(R2, socket)
        self.set(R4, _CREATE)
        self.call(_SK_STORAGE_GET)

    def go_if_flag(self, flag: int, label: str) -> None:
        """Jump to `label` if the entry has this flag."""
        self.load(R1, R7, layout.ENTRY_FLAGS)
        self.mask_number(R1, flag)
        self.go_if(R1, "!=", 0, label)

    def _take_entry(self) -> None:
        self.copy(R7, R0)
        self.load(R1, R7, layout.ENTRY_FLAGS)
        self.mask_number(R1, layout.STOPPED)
        self.go_if(R1, "!=", 0, "deny")

    def _get_storage(self, socket: int) -> None:
        self.copy(R2, socket)
        self.set_map(R1, self._sockets_fd)
        self.set(R3, 0)
        self.set(R4, 0)
        self.call(_SK_STORAGE_GET)

    def find_limits(self) -> None:
        """Find the limits of the entry's grant. Deny everything if the policy no longer has this grant."""
        self.store_number(STACK, _KEY, 0)
        self.set_map(R1, self._limits_fd)
        self._look_up_key()
        self.load(R1, R7, layout.ENTRY_GRANT, 8)
        self.store(STACK, _KEY, R1, 8)
        self.copy(R1, R0)
        self._look_up_key()
        self.copy(R8, R0)

    def _look_up_key(self) -> None:
        self.copy(R2, STACK)
        self.add(R2, _KEY)
        self.call(_MAP_LOOKUP)
        self.go_if(R0, "==", 0, "deny")

    def go_if_anywhere(self, rules: RuleList, label: str) -> None:
        """Jump to `label` if the grant does not limit this."""
        self.load(R1, R8, rules.length)
        self.set_double_word(R2, layout.ANYWHERE)
        self.go_if_register(R1, "==", R2, label)

    def put_ipv4(self, register: int) -> None:
        """Take the 4 bytes of a register as the address to compare."""
        self.store_number(STACK, ADDRESS, 0, 8)
        self.store_number(STACK, ADDRESS + 8, 0, 8)
        self.store(STACK, ADDRESS, register)
        self.store_number(STACK, _FAMILY, layout.IPV4)

    def put_ipv6(self, base: int, offset: int, prefix: str) -> None:
        """Take the 16 bytes at `base + offset` as the address to compare. A v4-mapped address becomes IPv4."""
        for word in range(0, 16, 4):
            self.load(R1, base, offset + word)
            self.store(STACK, ADDRESS + word, R1)
        self.store_number(STACK, _FAMILY, layout.IPV6)
        self.load(R1, STACK, ADDRESS, 8)
        self.go_if(R1, "!=", 0, f"{prefix}.is put")
        self.load(R1, STACK, ADDRESS + 8)
        self.set_double_word(R2, _MAPPED_PREFIX)
        self.go_if_register(R1, "!=", R2, f"{prefix}.is put")
        self.load(R1, STACK, ADDRESS + 12)
        self.put_ipv4(R1)
        self.label(f"{prefix}.is put")

    def mark_unspecified(self) -> None:
        """Mark the address of zeros as a destination that the kernel will replace by its own choice."""
        self.load(R1, STACK, ADDRESS, 8)
        self.load(R2, STACK, ADDRESS + 8, 8)
        self.merge(R1, R2)
        self.go_if(R1, "!=", 0, "is specified")
        self.store_number(STACK, _FAMILY, layout.UNSPECIFIED)
        self.label("is specified")

    def go_if_covered(self, rules: RuleList, label: str) -> None:
        """Jump to `label` if a rule covers the address and all ports from R9 to LAST_PORT, otherwise go on."""
        here = f"rules at {rules.first}, {label}"
        rule, number, first_word, second_word, index = R1, R2, R3, R4, R7
        self.load(number, R8, rules.length)
        self.go_if(number, ">", MAX_RULES, "deny")
        self.load(first_word, STACK, ADDRESS, 8)
        self.load(second_word, STACK, ADDRESS + 8, 8)
        self.copy(rule, R8)
        self.add(rule, rules.first)
        self.set(index, 0)
        self.label(f"{here}: look")
        self.go_if_register(index, ">=", number, f"{here}: none")
        self.go_if(index, ">=", MAX_RULES, f"{here}: none")
        self.load(R5, rule, layout.RULE_FIRST_PORT, 2)
        self.go_if_register(R5, ">", R9, f"{here}: next")
        self.load(R5, rule, layout.RULE_LAST_PORT, 2)
        self.load(R0, STACK, LAST_PORT)
        self.go_if_register(R5, "<", R0, f"{here}: next")
        self.load(R5, rule, layout.RULE_FAMILY)
        self.go_if(R5, "==", layout.ANY_FAMILY, label)
        self.load(R0, STACK, _FAMILY)
        self.go_if_register(R5, "!=", R0, f"{here}: next")
        for word, offset in ((first_word, 0), (second_word, 8)):
            self.load(R5, rule, layout.RULE_MASK + offset, 8)
            self.mask(R5, word)
            self.load(R0, rule, layout.RULE_NETWORK + offset, 8)
            self.go_if_register(R5, "!=", R0, f"{here}: next")
        self.go(label)
        self.label(f"{here}: next")
        self.add(rule, layout.RULE.size)
        self.add(index, 1)
        self.go(f"{here}: look")
        self.label(f"{here}: none")

    def end_with_verdict(self) -> None:
        """Define the labels "deny" and "allow". Code that gets here without a jump is denied."""
        self.label("deny")
        self.end(0)
        self.label("allow")
        self.end(1)
