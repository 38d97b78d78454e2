"""The order in which to try a host's addresses: RFC 6724, section 6, with the tables of gai.conf.

Rules 3, 4 and 7 are about deprecated addresses, home addresses and tunnels, which only a netlink socket can tell.
glibc's getaddrinfo leaves out the same rules where it has no such socket.
Source: rfc3484_sort in glibc's sysdeps/posix/getaddrinfo.c.
"""

from __future__ import annotations

import socket
from functools import cmp_to_key

from ..wire.record import Record
from .files.gai_conf import Rules, value_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_LINK_LOCAL, _SITE_LOCAL, _GLOBAL = 0x2, 0x5, 0xE
_MAPPED_PREFIX = bytes(10) + b"\xff\xff"
_LOOPBACK6 = bytes(15) + b"\1"
_DEFAULT_RULES = Rules()


class Source(Record):
    """The address from which a destination would be reached.

    `network_bits` is the length of its network's prefix. It is known only for IPv4, and otherwise 0.
    """

    address: str
    network_bits: int = 0


class _Candidate(Record):
    """A destination, and the numbers that the rules compare."""

    is_ipv4: bool
    precedence: int
    scope: int
    is_reachable: bool = False
    scope_matches: bool = False
    label_matches: bool = False
    common_bits: int = 0


def preference(
    destinations: Sequence[str], sources: Sequence[Source | None] | None, rules: Rules = _DEFAULT_RULES
) -> list[int]:
    """Return the indices of the destinations in the order to try them. Equal ones keep their order.

    Args:
        destinations: addresses as text.
        sources: for each destination its source, or `None` if there is no route. Without any sources (`None` instead
            of the list), the rules about them do not apply.
        rules: the tables of gai.conf.
    """
    known: Sequence[Source | None] = sources or [None] * len(destinations)
    candidates = [_candidate(address, source, rules) for address, source in zip(destinations, known, strict=True)]
    by_rules = cmp_to_key(_compare)
    return sorted(range(len(candidates)), key=lambda index: by_rules(candidates[index]))


def networks_matter(destinations: Sequence[str], sources: Sequence[Source | None]) -> bool:
    """Return whether the networks of IPv4 sources can change the order."""
    pairs = zip(destinations, sources, strict=True)
    return len({_common_ipv4_bits(there, here) for there, here in pairs if here and ":" not in there}) > 1


def _compare(first: _Candidate, second: _Candidate) -> int:
    """Return a negative number if the first one is to be tried first. Rule 10 is the stability of the sort."""
    difference = (
        second.is_reachable - first.is_reachable  # Rule 1: avoid unusable destinations.
        or second.scope_matches - first.scope_matches  # Rule 2: prefer matching scope.
        or second.label_matches - first.label_matches  # Rule 5: prefer matching label.
        or second.precedence - first.precedence  # Rule 6: prefer higher precedence.
        or first.scope - second.scope  # Rule 8: prefer smaller scope.
    )
    if not difference and first.is_ipv4 == second.is_ipv4:
        return second.common_bits - first.common_bits  # Rule 9: use longest matching prefix.
    return difference


def _candidate(address: str, source: Source | None, rules: Rules) -> _Candidate:
    is_ipv4 = ":" not in address
    packed, scope = _packed(address), _scope(address, rules)
    candidate = _Candidate(is_ipv4, value_for(rules.precedences, packed), scope)
    if source is None:
        return candidate
    origin = _packed(source.address)
    return candidate._replace(
        is_reachable=True,
        scope_matches=_scope(source.address, rules) == scope,
        label_matches=value_for(rules.labels, packed) == value_for(rules.labels, origin),
        common_bits=_common_ipv4_bits(address, source) if is_ipv4 else _common_bits(packed, origin),
    )


def _packed(address: str) -> bytes:
    """Return an address as 16 bytes. IPv4 addresses are mapped."""
    if ":" in address:
        return socket.inet_pton(socket.AF_INET6, address)
    return _MAPPED_PREFIX + socket.inet_pton(socket.AF_INET, address)


def _scope(address: str, rules: Rules) -> int:
    packed = _packed(address)
    if ":" not in address:
        return value_for(rules.scopes, packed[12:])
    if packed[0] == 0xFF:
        return packed[1] & 0x0F
    top = packed[0] << 8 | packed[1]
    if top & 0xFFC0 == 0xFE80 or packed == _LOOPBACK6:
        return _LINK_LOCAL
    return _SITE_LOCAL if top & 0xFFC0 == 0xFEC0 else _GLOBAL


def _common_ipv4_bits(address: str, source: Source) -> int:
    """Return the length of the common prefix within a network. Beyond it, IPv4 addresses have no meaning in common.

    As in glibc, an address whose network is not known is a network of its own.
    """
    common = _common_bits(_packed(address), _packed(source.address)) - 96
    return common if common >= (source.network_bits or 32) else 0


def _common_bits(first: bytes, second: bytes) -> int:
    different = int.from_bytes(first, "big") ^ int.from_bytes(second, "big")
    return 8 * len(first) - different.bit_length()
