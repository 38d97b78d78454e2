"""Limits: where the client can go with a socket, and what it can bind, by itself. What the seal enforces, in Python.

The kernel's programs decide exactly as the functions here do; a test compares the two on random rules and addresses.
"""

from __future__ import annotations

from dataclasses import dataclass

from .kinds import PORT_KINDS
from .rules import ALL_PORTS, AddressRule, parse_host

MAX_RULES = 64
"""For each direction of a grant: the kernel's programs look at one after the other, and their room is fixed."""


@dataclass(frozen=True, slots=True)
class Limit:
    """The walls of a grant. None is anywhere; no rule at all is nowhere.

    Addresses are numeric; a v4-mapped IPv6 one is the IPv4 address that it stands for. "*" is every address of both
    families.
    """

    connect: tuple[AddressRule, ...] | None = None
    bind: tuple[AddressRule, ...] | None = None

    def allows_connect(self, host: str, port: int | None) -> bool:
        """Tell whether the socket may connect or send to this address; the port is None for kinds that have none.

        For them a rule counts that is for all ports, like "10.0.0.0/8:*": what a raw socket sends can have any.
        No network covers the unspecified address, 0.0.0.0 or "::", only "*" does: as a destination the kernel takes
        it for a loopback address, for "::" also one of IPv4.
        """
        if self.connect is None:
            return True
        rules = self.connect
        if parse_host(host).is_unspecified:
            rules = tuple(rule for rule in rules if rule.network is None)
        if port is None:
            rules = tuple(rule for rule in rules if (rule.first_port, rule.last_port) == ALL_PORTS)
        return _is_covered(rules, host, port or 0)

    def allows_bind(self, host: str, port: int) -> bool:
        """Tell whether the socket may be bound to this address.

        The unspecified address is covered where a rule's network has it in it, as "*" and "0.0.0.0/0" do and
        "10.0.0.0/8" does not. Port 0, which lets the kernel choose one, must be in the rule's range.
        """
        return self.bind is None or _is_covered(self.bind, host, port)

    def lists_bind(self, host: str, port: int) -> bool:
        """Tell whether a rule for binding covers this address: then the port may be a low one."""
        return self.bind is not None and _is_covered(self.bind, host, port)


def _is_covered(rules: tuple[AddressRule, ...], host: str, port: int) -> bool:
    return any(rule.covers(host, port) for rule in rules)


def why_no_limit(kind: str) -> str | None:
    """Say why a socket of this kind can't be limited at all; None if it can."""
    if kind == "sctp":
        return "what an SCTP socket accepts or peels off is a new socket that no limit follows"
    if kind in PORT_KINDS or kind == "icmp":
        return None
    if kind == "raw:raw":
        return "its packets bring their own headers"
    return None if kind.startswith("raw:") else "its addresses are not those of IP"


def why_no_bind_limit(kind: str) -> str | None:
    """Say why the binding of a socket of this kind can't be limited; None if it can."""
    return why_no_limit(kind) or (None if kind in PORT_KINDS else "the kernel does not ask when it is bound")
