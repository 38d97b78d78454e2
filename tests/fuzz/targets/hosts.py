"""The hosts file: any text gives names with valid addresses, and every one of them is in a line of the text."""

from __future__ import annotations

import ipaddress
import re
import socket

from nsbroker.names.files import hosts

from ..target import Target

AF_INET, AF_INET6 = 2, 10
MAPPED = ipaddress.ip_network("::ffff:0:0/96")
LOOPBACK = ipaddress.ip_address("::1")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Row = tuple[Address, list[str]]

MOST_NAMES = 8
"""Names of an input that are looked up."""


def check(data: bytes) -> None:
    """Check one text. The broker sends a file with this replacement of bytes."""
    text = data.decode(errors="replace")
    rows = [row for line in text.split("\n") if (row := read_line(line))]
    for multi in (True, False):
        parsed = hosts.parse(text, multi=multi)
        listed = dict.fromkeys(name for _, names in rows for name in names)
        for name in ["", "localhost", *listed][:MOST_NAMES]:
            for family in (0, AF_INET, AF_INET6):
                check_name(parsed, rows, name, family, multi=multi)
        for address, _ in rows:
            check_address(parsed, rows, address)


def read_line(line: str) -> Row | None:
    """Read a line by other code than the product's."""
    words = [word for word in re.split(r"[ \t\n\v\f\r]+", line.split("#")[0].split("\0")[0]) if word]
    if len(words) < 2 or "%" in words[0]:
        return None
    try:
        return ipaddress.ip_address(words[0]), words[1:]
    except ValueError:
        return None


def views(address: Address, family: int) -> str | None:
    """Return the address for a program that asks for a family: glibc gives 127.0.0.1 for ::1, and maps back."""
    if family == AF_INET and address.version == 6:
        return "127.0.0.1" if address == LOOPBACK else str(address.ipv4_mapped) if address in MAPPED else None
    return str(address) if family == 0 or (family == AF_INET6) == (address.version == 6) else None


def check_name(parsed: hosts.Hosts, rows: list[Row], name: str, family: int, *, multi: bool) -> None:
    """Compare the addresses of a name with those of the lines that have it."""
    lines = [address for address, names in rows if name.lower() in map(str.lower, names)]
    expected = [view for address in lines if (view := views(address, family))]
    found = parsed.by_name(name, family)
    addresses = [str(ipaddress.ip_address(address)) for _, address in found.addresses] if found else []
    assert addresses == (expected if multi else expected[:1]), (name, family)
    if found:
        listed = {name for _, names in rows for name in names}
        assert {found.canonical, *found.aliases} <= listed


def check_address(parsed: hosts.Hosts, rows: list[Row], address: Address) -> None:
    """Compare the names of an address with those of the first line that has it."""
    family = AF_INET if address.version == 4 else AF_INET6
    found = parsed.by_address(family, socket.inet_ntop(family, address.packed))
    assert found is not None
    assert [found.canonical, *found.aliases] == next(names for one, names in rows if str(address) == views(one, family))


WORDS = (
    "127.0.0.1 ", "::1 ", "::ffff:10.0.0.1 ", "fe80::1%eth0 ", "10.0.0.1\t", "localhost", "a", "A", "a.test", "\n", "#",
    "\t", "\r", "\x0b", "\x0c", "\0", "\u00a0", "\u2028", "\x85", "\x1c", "\u0130", "ß", "127.1 ", "0x7f.1 ",
)  # fmt: skip
TARGET = Target(check, tuple(word.encode() for word in WORDS), max_bytes=1024)
