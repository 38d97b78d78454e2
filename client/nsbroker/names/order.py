"""The order in which to try a host's addresses: RFC 6724, section 6.

Rules 3, 4 and 7 are about deprecated addresses, home addresses and tunnels, which only a netlink socket can tell.
glibc's getaddrinfo leaves out the same rules where it has no such socket.
"""

from __future__ import annotations

import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_LINK_LOCAL, _SITE_LOCAL, _GLOBAL = 0x2, 0x5, 0xE
_MAPPED_PREFIX = bytes(10) + b"\xff\xff"
_INTERFACE_BITS = 64
"""Rule 9 compares prefixes up to the source's own prefix length, which is 64 in all but odd networks."""


def _row(prefix: str, bits: int, precedence: int, label: int) -> tuple[int, int, int, int]:
    return int.from_bytes(socket.inet_pton(socket.AF_INET6, prefix), "big") >> (128 - bits), bits, precedence, label


_POLICY = (
    _row("::1", 128, 50, 0),
    _row("::ffff:0:0", 96, 35, 4),
    _row("::", 96, 1, 3),
    _row("2001::", 32, 5, 5),
    _row("2002::", 16, 30, 2),
    _row("3ffe::", 16, 1, 12),
    _row("fec0::", 10, 1, 11),
    _row("fc00::", 7, 3, 13),
    _row("::", 0, 40, 1),
)
"""Prefix, its length, precedence and label. The longest prefix comes first. Source: RFC 6724, section 2.1."""


def preference(destinations: Sequence[str], sources: Sequence[str | None] | None) -> list[int]:
    """Return the indices of the destinations in the order to try them. Equal ones keep their order.

    Args:
        destinations: addresses as text.
        sources: for each destination the address from which it would be reached, or `None` if there is no route.
            Without any sources (`None` instead of the list), the rules about them do not apply.
    """
    known: Sequence[str | None] = sources or [None] * len(destinations)
    keys = [_key(_packed(destination), source) for destination, source in zip(destinations, known, strict=True)]
    return sorted(range(len(keys)), key=keys.__getitem__)


def _key(destination: bytes, source: str | None) -> tuple[int, ...]:
    """Return the sort key of a destination, with one number for each rule.

    Each rule compares two addresses, and one number per address suffices: IPv4 and IPv6 never reach rule 9 together,
    since no IPv6 prefix has the precedence of IPv4.
    """
    precedence, label = _policy(destination)
    scope = _scope(destination)
    if source is None:
        return 1, 0, 0, -precedence, scope, 0
    origin = _packed(source)
    return (
        0,  # Rule 1: avoid unusable destinations.
        int(_scope(origin) != scope),  # Rule 2: prefer matching scope.
        int(_policy(origin)[1] != label),  # Rule 5: prefer matching label.
        -precedence,  # Rule 6: prefer higher precedence.
        scope,  # Rule 8: prefer smaller scope.
        -_common_bits(origin, destination),  # Rule 9: use longest matching prefix. Rule 10 is a stable sort.
    )


def _packed(address: str) -> bytes:
    """Return an address as 16 bytes. IPv4 addresses are mapped."""
    if ":" in address:
        return socket.inet_pton(socket.AF_INET6, address)
    return _MAPPED_PREFIX + socket.inet_pton(socket.AF_INET, address)


def _policy(address: bytes) -> tuple[int, int]:
    number = int.from_bytes(address, "big")
    return next(row[2:] for row in _POLICY if number >> (128 - row[1]) == row[0])


def _scope(address: bytes) -> int:
    if address.startswith(_MAPPED_PREFIX):
        # RFC 6724, section 3.2: private IPv4 addresses are global.
        return _LINK_LOCAL if address[12] == 127 or address[12:14] == b"\xa9\xfe" else _GLOBAL
    if address[0] == 0xFF:
        return address[1] & 0x0F
    top = address[0] << 8 | address[1]
    if top & 0xFFC0 == 0xFE80 or address == bytes(15) + b"\1":
        return _LINK_LOCAL
    return _SITE_LOCAL if top & 0xFFC0 == 0xFEC0 else _GLOBAL


def _common_bits(source: bytes, destination: bytes) -> int:
    """Return the length of the common prefix, or 0 for IPv4, where it has no meaning beyond a subnet (as in glibc)."""
    if destination.startswith(_MAPPED_PREFIX):
        return 0
    different = int.from_bytes(source, "big") ^ int.from_bytes(destination, "big")
    return min(128 - different.bit_length(), _INTERFACE_BITS)
