"""What is in the seal's maps, as the kernel's programs read it. Pure.

An address is two words of 64 bits, in network order: an IPv4 one its 4 bytes and zeros, an IPv6 one its 16 bytes; and
its family beside it. A v4-mapped IPv6 address is the IPv4 address that it stands for.
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
"""The family of a destination 0.0.0.0 or "::", which the kernel takes for one of its own addresses: only a rule for
any family covers it."""

ANYWHERE = 0xFFFFFFFF
"""In place of the number of rules: there is no limit."""

REVOKED = 1
"""A flag of an entry: nothing goes in or out any more."""


class Entry(NamedTuple):
    """What the kernel keeps with a sealed socket, and copies to the sockets that it accepts.

    `cookie` is that of the socket that was handed out, `since_ns` when that was (of the epoch).
    """

    grant_id: int
    netns: int
    cookie: int
    since_ns: int
    uid: int
    flags: int = 0


ENTRY = struct.Struct("=QQQQII")
ENTRY_GRANT, ENTRY_NETNS, ENTRY_COOKIE, ENTRY_UID, ENTRY_FLAGS = 0, 8, 16, 32, 36

RULE = struct.Struct("=16s16sIHH")
RULE_NETWORK, RULE_MASK, RULE_FAMILY, RULE_FIRST_PORT, RULE_LAST_PORT = 0, 16, 32, 36, 38

_COUNTS = struct.Struct("=II")
CONNECT_COUNT, BIND_COUNT = 0, 4
CONNECT_RULES = _COUNTS.size
BIND_RULES = CONNECT_RULES + MAX_RULES * RULE.size
LIMIT_BYTES = BIND_RULES + MAX_RULES * RULE.size

GRANT_ID_BYTES = 8
NAME_BYTES = 400
"""Of a grant's name: 100 characters of UTF-8."""


def grant_id(name: str) -> int:
    """Give the number of a grant: always the same for the same name, also after a restart."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=GRANT_ID_BYTES).digest(), "little")


def encode_grant_id(number: int) -> bytes:
    """Give a key of the maps that are about grants."""
    return struct.pack("=Q", number)


def decode_grant_id(key: bytes) -> int:
    """Read a key of the maps that are about grants."""
    return int.from_bytes(key, sys.byteorder)


def encode_name(name: str) -> bytes:
    """Give a grant's name as the map of the names has it."""
    return name.encode().ljust(NAME_BYTES, b"\0")


def decode_name(value: bytes) -> str:
    """Read a grant's name."""
    return value.rstrip(b"\0").decode()


def encode_limit(limit: Limit | None) -> bytes:
    """Give both lists of a limit; None is a grant without limits, whose sockets may have been sealed before.

    Raises:
        ValueError: it has more than MAX_RULES.
    """
    connect, bind = (None, None) if limit is None else (limit.connect, limit.bind)
    return _COUNTS.pack(_count(connect), _count(bind)) + _encode_rules(connect) + _encode_rules(bind)


def _count(rules: Sequence[AddressRule] | None) -> int:
    return ANYWHERE if rules is None else len(rules)


def _encode_rules(rules: Sequence[AddressRule] | None) -> bytes:
    if rules is not None and len(rules) > MAX_RULES:
        raise ValueError(f"{len(rules)} rules; at most {MAX_RULES}")
    return b"".join(map(encode_rule, rules or ())).ljust(MAX_RULES * RULE.size, b"\0")


def encode_rule(rule: AddressRule) -> bytes:
    """Give one rule: an address falls under it if it equals the network where the mask has ones."""
    network = rule.network
    if network is None:
        return RULE.pack(b"", b"", ANY_FAMILY, rule.first_port, rule.last_port)
    family = IPV4 if network.version == 4 else IPV6
    return RULE.pack(network.network_address.packed, network.netmask.packed, family, rule.first_port, rule.last_port)
