"""Limits: the addresses to which a client can connect and bind a socket after the hand-over.

The seal's programs enforce them in the kernel, and decide exactly as the functions here do. A test compares both on
random rules and addresses.
"""

from __future__ import annotations

from dataclasses import dataclass

from nsbroker.wire.kind_names import RAW_PROTOCOLS

from .rules import ALL_PORTS, AddressRule, is_covered, parse_host

MAX_RULES = 64
"""Rules in each list of a limit. The kernel's programs compare rule by rule, and the room in their maps is fixed."""

Endpoint = tuple[str, int]
"""A numeric address and a port."""

NEED_SECOND_WALL = frozenset({"sctp"})
"""Kinds that only both walls of the seal can limit: the first one does not see the sockets that they accept."""

_LIMITED_IN_BINDING = frozenset({"tcp", "udp", "udplite", "mptcp", "sctp"})
"""Kinds for which the kernel runs a program of the seal when they are bound."""

_LIMITED = _LIMITED_IN_BINDING | {"icmp"} | {f"raw:{name}" for name in RAW_PROTOCOLS if name != "raw"}
"""Kinds that the seal can limit. Add a new kind only after a test has shown that no packet of it gets out."""


@dataclass(frozen=True, slots=True)
class Limit:
    """The limit of a grant: rules for connecting and for binding. None means anywhere, an empty list nowhere.

    Addresses are numeric. A v4-mapped IPv6 address counts as the IPv4 address. "*" covers all addresses of both
    families.
    """

    connect: tuple[AddressRule, ...] | None = None
    bind: tuple[AddressRule, ...] | None = None

    def allows_connect(self, host: str, port: int | None) -> bool:
        """Return whether the socket may connect or send to this address.

        For a kind without ports, `port` is None. Then only rules for all ports count, like "10.0.0.0/8:*", because a
        raw socket can send packets with any port.

        Only "*" covers the unspecified address (0.0.0.0 or "::"), and no network does. The kernel replaces such a
        destination by a loopback address, and "::" even by one of IPv4.
        """
        if self.connect is None:
            return True
        rules = self.connect
        if parse_host(host).is_unspecified:
            rules = tuple(rule for rule in rules if rule.network is None)
        if port is None:
            rules = tuple(rule for rule in rules if (rule.first_port, rule.last_port) == ALL_PORTS)
        return is_covered(rules, host, port or 0)

    def allows_bind(self, host: str, port: int) -> bool:
        """Return whether the socket may be bound to this address.

        A rule covers the unspecified address if its network contains it. "*" and "0.0.0.0/0" do, "10.0.0.0/8" does not.
        Port 0 lets the kernel choose a port, and must be in the rule's range.
        """
        return self.bind is None or is_covered(self.bind, host, port)

    def lists_bind(self, host: str, port: int) -> bool:
        """Return whether a rule for binding covers this address. Its port may then be a low one."""
        return self.bind is not None and is_covered(self.bind, host, port)


def why_no_limit(kind: str) -> str | None:
    """Return why sockets of this kind can't be limited at all, or None if they can."""
    if kind in _LIMITED:
        return None
    if kind == "raw:raw":
        return "they write the headers of their packets themselves"
    if kind in ("packet", "unix") or kind.startswith("netlink:"):
        return "they do not use IP addresses"
    return "the seal does not know this kind"


def why_no_bind_limit(kind: str) -> str | None:
    """Return why binding can't be limited for this kind, or None if it can."""
    reason = None if kind in _LIMITED_IN_BINDING else "the kernel runs no program when they are bound"
    return why_no_limit(kind) or reason
