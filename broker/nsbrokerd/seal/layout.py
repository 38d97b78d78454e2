"""The bytes in the seal's maps, as the kernel's programs read them. Pure.

An address takes two words of 64 bits in network order: the 16 bytes of IPv6, or the 4 bytes of IPv4 and zeros. Its
family is a separate field. A v4-mapped IPv6 address is stored as the IPv4 address.
"""

from __future__ import annotations

import hashlib
import struct
import sys
from collections.abc import Sequence
from typing import NamedTuple

from ..policy import AddressRule, Limit
from ..policy.limit import MAX_RULES

ANY_FAMILY, IPV4, IPV6 = 0, 4, 6
UNSPECIFIED = 255
"""The family of a destination 0.0.0.0 or "::". The kernel replaces it by an address of its own, so only a rule for any
family covers it."""

ANYWHERE = 0xFFFFFFFF
"""Stands in place of the number of rules if the grant does not limit this direction."""

REVOKED, CUT, CHOSEN, BOUND, CLONED, SEVERAL, PARENT = 1, 2, 4, 8, 16, 32, 64
"""Flags of an entry. The socket sends and receives no packets any more: for good, or as long as the policy in force
does not cover it. Its owner chose its peer, by connect(2) or the calls of SCTP that do the same. Its owner chose its
address, by bind(2). SCTP made it for accept(2) or `peeloff`, so the first wall does not see its packets. A peer of an
SCTP socket has, or may have, several addresses that nothing checked. SCTP may make further sockets of it: its owner
asked it to listen, or to peel off an association. Only the second wall sets the last five."""
STOPPED = REVOKED | CUT

ENTRY_MEMBERS = (("grant", 8), ("netns", 8), ("cookie", 8), ("since_ns", 8), ("uid", 4), ("flags", 4))
"""The entry of a sealed socket: names and sizes in bytes. The kernel copies it to the sockets that this socket accepts.
`cookie` is the cookie of the socket that the broker handed out, `since_ns` the time of the hand-over (nanoseconds of
the epoch)."""
ENTRY = struct.Struct("=QQQQII")
ENTRY_GRANT, ENTRY_NETNS, ENTRY_COOKIE, ENTRY_UID, ENTRY_FLAGS = 0, 8, 16, 32, 36

RULE = struct.Struct("=16s16sIHH")
RULE_NETWORK, RULE_MASK, RULE_FAMILY, RULE_FIRST_PORT, RULE_LAST_PORT = 0, 16, 32, 36, 38


class RuleList(NamedTuple):
    """The offsets of one list of rules in the limits of a grant: of its length, and of its first rule."""

    length: int
    first: int


_COUNTS = struct.Struct("=II")
CONNECT = RuleList(0, _COUNTS.size)
BIND = RuleList(4, _COUNTS.size + MAX_RULES * RULE.size)
LIMIT_BYTES = BIND.first + MAX_RULES * RULE.size

GRANT_ID_BYTES = 8
NAME_BYTES = 400
"""Room for a grant's name: 100 characters of UTF-8."""


def grant_id(name: str) -> int:
    """Return the id of a grant. It depends only on the name, so it is the same after a restart."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=GRANT_ID_BYTES).digest(), "little")


def encode_grant_id(number: int) -> bytes:
    """Return the key of a grant in the maps."""
    return struct.pack("=Q", number)


def decode_grant_id(key: bytes) -> int:
    """Return the id of a grant from its key in the maps."""
    return int.from_bytes(key, sys.byteorder)


def encode_name(name: str) -> bytes:
    """Return a grant's name as a value of the map of names."""
    return name.encode().ljust(NAME_BYTES, b"\0")


def decode_name(value: bytes) -> str:
    """Return a grant's name from a value of the map of names."""
    return value.rstrip(b"\0").decode()


def encode_limit(limit: Limit | None) -> bytes:
    """Return both lists of rules of a limit. None stands for a grant that has lost its limit: it allows everything.

    Raises:
        ValueError: a list has more than MAX_RULES rules.
    """
    lists = (None, None) if limit is None else (limit.connect, limit.bind)
    counts = _COUNTS.pack(*(ANYWHERE if rules is None else len(rules) for rules in lists))
    return counts + b"".join(map(_encode_rules, lists))


def _encode_rules(rules: Sequence[AddressRule] | None) -> bytes:
    if rules is not None and len(rules) > MAX_RULES:
        raise ValueError(f"the limit has {len(rules)} rules, but the kernel has room for at most {MAX_RULES}")
    return b"".join(map(encode_rule, rules or ())).ljust(MAX_RULES * RULE.size, b"\0")


def encode_rule(rule: AddressRule) -> bytes:
    """Return one rule. It covers an address that equals the network in all bits where the mask is 1."""
    network = rule.network
    if network is None:
        return RULE.pack(b"", b"", ANY_FAMILY, rule.first_port, rule.last_port)
    family = IPV4 if network.version == 4 else IPV6
    return RULE.pack(network.network_address.packed, network.netmask.packed, family, rule.first_port, rule.last_port)
