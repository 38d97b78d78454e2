"""Address rules: `*:80`, `10.0.0.0/8:8000-8999`, `[fd00::/8]:443`."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import lru_cache

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

ALL_PORTS = (0, 65535)


@lru_cache(maxsize=4096)
def parse_host(host: str) -> IPAddress:
    """Parse a numeric address; a v4-mapped one is the IPv4 address that it stands for.

    Raises:
        ValueError: it is none.
    """
    address = ipaddress.ip_address(host)
    return (address.version == 6 and address.ipv4_mapped) or address


@dataclass(frozen=True, slots=True)
class AddressRule:
    """A network, or any address at all (None), and a range of ports, both ends in it."""

    text: str
    network: Network | None
    first_port: int
    last_port: int

    @classmethod
    def parse(cls, text: str) -> AddressRule:
        """Read a rule as the policy has it.

        Raises:
            ValueError: what is wrong with it.
        """
        hosts, colon, ports = text.rpartition(":")
        if not colon:
            raise ValueError(f"{text!r} is not ADDRESS:PORT, like '*:80' or '10.0.0.0/8:8000-8999'")
        first, last = _parse_ports(ports)
        return cls(text, _parse_network(hosts), first, last)

    def covers(self, host: str, port: int) -> bool:
        """Tell whether a numeric address and port fall under this rule."""
        if not self.first_port <= port <= self.last_port:
            return False
        if self.network is None:
            return True
        address = parse_host(host)
        return address.version == self.network.version and address in self.network


def _parse_ports(text: str) -> tuple[int, int]:
    if text == "*":
        return ALL_PORTS
    first, dash, last = text.partition("-")
    for number in (first, last) if dash else (first,):
        if not (number.isascii() and number.isdigit() and int(number) <= 65535):
            raise ValueError(f"{text!r} is no port, range of ports, or '*'")
    if dash and int(first) > int(last):
        raise ValueError(f"the range of ports {text!r} is empty")
    return int(first), int(last or first)


def _parse_network(text: str) -> Network | None:
    if text == "*":
        return None
    if "%" in text:
        raise ValueError(f"{text!r}: a rule is for an address on every interface; leave out the scope")
    bracketed = text.startswith("[") and text.endswith("]")
    try:
        network = ipaddress.ip_network(text[1:-1] if bracketed else text)
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from error
    if bracketed != (network.version == 6):
        raise ValueError(f"{text!r}: an IPv6 network stands in brackets, an IPv4 one does not")
    if network.version == 6 and network.network_address.ipv4_mapped:
        raise ValueError(f"{text!r}: write a v4-mapped network as IPv4; it covers both")
    return network
