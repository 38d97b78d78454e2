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
_MAPPED = 0xFFFF << 32
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
    return len({_common_bits(_number(there), here) for there, here in pairs if here and ":" not in there}) > 1


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
    number = _number(address)
    scope, precedence = _scope(number, is_ipv4, rules), value_for(rules.precedences, number)
    if source is None:
        return _Candidate(is_ipv4, precedence, scope)
    origin = _number(source.address)
    scope_matches = _scope(origin, is_ipv4, rules) == scope
    label_matches = value_for(rules.labels, number) == value_for(rules.labels, origin)
    return _Candidate(is_ipv4, precedence, scope, True, scope_matches, label_matches, _common_bits(number, source))


def _number(address: str) -> int:
    """Return an address as a number of 128 bits. IPv4 addresses are mapped."""
    if ":" in address:
        return int.from_bytes(socket.inet_pton(socket.AF_INET6, address), "big")
    return _MAPPED | int.from_bytes(socket.inet_pton(socket.AF_INET, address), "big")


def _scope(number: int, is_ipv4: bool, rules: Rules) -> int:
    if is_ipv4:
        return value_for(rules.scopes, number & 0xFFFFFFFF, 32)
    top = number >> 112
    if top >> 8 == 0xFF:
        return top & 0x0F
    if top & 0xFFC0 == 0xFE80 or number == 1:
        return _LINK_LOCAL
    return _SITE_LOCAL if top & 0xFFC0 == 0xFEC0 else _GLOBAL


def _common_bits(number: int, source: Source) -> int:
    """Return the length of the common prefix. IPv4 addresses have one only within a network.

    As in glibc, an IPv4 source whose network is not known is a network of its own.
    """
    common = 128 - (number ^ _number(source.address)).bit_length()
    if ":" in source.address:
        return common
    return common - 96 if common - 96 >= (source.network_bits or 32) else 0
