"""Random limits, and addresses that lie at the edges of their rules more often than not."""

from __future__ import annotations

import ipaddress
import random

from nsbrokerd.policy import AddressRule
from nsbrokerd.policy.limit import MAX_RULES

V4_PLACES = ("10.0.0.0", "10.1.2.3", "127.0.0.0", "127.0.0.1", "192.0.2.0", "0.0.0.0", "255.255.255.255", "224.0.0.1")
V6_PLACES = ("::", "::1", "fd00::", "fd00::1", "2001:db8::", "fe80::1", "ff02::1", "::10.0.0.1", "64:ff9b::10.0.0.1")
PORTS = (0, 1, 22, 53, 80, 443, 1023, 1024, 8000, 8999, 65534, 65535)


class Chance:
    """The same seed leads to the same choices."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def rules(self) -> list[str] | None:
        pick = self.random.random()
        if pick < 0.1:
            return None
        count = self.random.choice((0, 1, 1, 2, 3, 5, MAX_RULES - 4))
        return [f"{self._hosts()}:{self._ports()}" for _ in range(count)]

    def _hosts(self) -> str:
        pick = self.random.random()
        if pick < 0.15:
            return "*"
        version = 4 if pick < 0.6 else 6
        length = self.random.randint(0, 32 if version == 4 else 128)
        network = ipaddress.ip_network((self._place(version), length), strict=False)
        if network.version == 6:
            return f"[{network}]" if not network.network_address.ipv4_mapped else "[::]"
        return str(network)

    def _place(self, version: int) -> str:
        if self.random.random() < 0.7:
            return self.random.choice(V4_PLACES if version == 4 else V6_PLACES)
        if version == 4:
            return str(ipaddress.IPv4Address(self.random.getrandbits(32)))
        return str(ipaddress.IPv6Address(self.random.getrandbits(128)))

    def _ports(self) -> str:
        pick = self.random.random()
        if pick < 0.3:
            return "*"
        first, last = sorted((self._port(), self._port()))
        return str(first) if pick < 0.6 else f"{first}-{last}"

    def _port(self) -> int:
        return self.random.choice(PORTS) if self.random.random() < 0.7 else self.random.randint(0, 65535)

    def address(self, rules: tuple[AddressRule, ...], version: int) -> tuple[str, int]:
        """Return an address for a socket of this family. An IPv6 address can be v4-mapped."""
        rule = self.random.choice(rules) if rules and self.random.random() < 0.7 else None
        port = (
            self._port()
            if rule is None
            else self.random.choice(
                (rule.first_port, rule.last_port, max(0, rule.first_port - 1), min(65535, rule.last_port + 1))
            )
        )
        if rule is not None and rule.network is not None and (rule.network.version == 4 or version == 6):
            host = self._near(rule.network)
        else:
            mapped = version == 6 and self.random.random() < 0.4
            host = ipaddress.ip_address(self._place(4 if mapped else version))
        return f"::ffff:{host}" if host.version < version else str(host), port

    def _near(
        self, network: ipaddress.IPv4Network | ipaddress.IPv6Network
    ) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
        """An address at an edge of the network, on either side, or within."""
        first, last = int(network.network_address), int(network.broadcast_address)
        number = self.random.choice((first, last, first - 1, last + 1, self.random.randint(first, last)))
        return type(network.network_address)(min(max(number, 0), 2**network.max_prefixlen - 1))
