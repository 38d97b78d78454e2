"""Address rules, for example `*:80`, `10.0.0.0/8:8000-8999` and `[fd00::/8]:443`."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

ALL_PORTS = (0, 65535)


@lru_cache(maxsize=4096)
def parse_host(host: str) -> IPAddress:
    """Return a numeric address. A v4-mapped address becomes the IPv4 address.

    Raises:
        ValueError: the text is not a numeric address.
    """
    address = ipaddress.ip_address(host)
    return (address.version == 6 and address.ipv4_mapped) or address


@dataclass(frozen=True, slots=True)
class AddressRule:
    """A network (None: any address) and a range of ports, including both ends."""

    text: str
    network: Network | None
    first_port: int
    last_port: int

    @classmethod
    def parse(cls, text: str) -> AddressRule:
        """Read a rule of the configuration.

        Raises:
            ValueError: the text is not a rule. The message names the cause and the remedy.
        """
        hosts, colon, ports = text.rpartition(":")
        if not colon:
            raise ValueError(f"{text!r} is not ADDRESS:PORT: write a rule like '*:80' or '10.0.0.0/8:8000-8999'")
        first, last = _parse_ports(ports)
        return cls(text, _parse_network(hosts), first, last)

    def covers(self, host: str, port: int) -> bool:
        """Return whether the rule covers a numeric address and a port."""
        if not self.first_port <= port <= self.last_port:
            return False
        if self.network is None:
            return True
        address = parse_host(host)
        return address.version == self.network.version and address in self.network


def is_covered(rules: Sequence[AddressRule], host: str, port: int) -> bool:
    """Return whether one of the rules covers a numeric address and a port."""
    for rule in rules:  # noqa: SIM110  # a generator takes twice the time
        if rule.covers(host, port):
            return True
    return False


def _parse_ports(text: str) -> tuple[int, int]:
    if text == "*":
        return ALL_PORTS
    first, dash, last = text.partition("-")
    for number in (first, last) if dash else (first,):
        if not (number.isascii() and number.isdigit() and int(number) <= 65535):
            raise ValueError(f"{text!r} is not a port: use a number up to 65535, a range like 8000-8999, or '*'")
    if dash and int(first) > int(last):
        raise ValueError(f"the range of ports {text!r} is empty: write the lower port first")
    return int(first), int(last or first)


def _parse_network(text: str) -> Network | None:
    if text == "*":
        return None
    if "%" in text:
        raise ValueError(f"{text!r} has a scope, but a rule covers its address on every interface: leave out the scope")
    bracketed = text.startswith("[") and text.endswith("]")
    try:
        network = ipaddress.ip_network(text[1:-1] if bracketed else text)
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from error
    if bracketed != (network.version == 6):
        raise ValueError(f"{text!r}: put an IPv6 network in brackets, and an IPv4 network without brackets")
    if network.version == 6 and network.network_address.ipv4_mapped:
        raise ValueError(f"{text!r} is a v4-mapped network: write it as IPv4, which covers both forms")
    return network
