"""hosts(5): the names and addresses in a hosts file.

Source: nss/nss_files/files-hosts.c in glibc.
"""

from __future__ import annotations

import socket

from ...wire.record import Record
from ..host import Host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_AF_INET = int(socket.AF_INET)
_AF_INET6 = int(socket.AF_INET6)
_MAPPED_PREFIX = bytes(10) + b"\xff\xff"


class Line(Record):
    """One line: an address in its usual form, and its names, the canonical one first.

    `ipv4` is the address that the line has for a program that asks for IPv4, or "". For glibc, "::1" is 127.0.0.1.
    """

    family: int
    address: str
    names: tuple[str, ...]
    ipv4: str

    def view(self, family: int) -> tuple[int, str] | None:
        """Return the family and address for a program that asks for a family (0 for any), or `None`."""
        if family == _AF_INET:
            return (_AF_INET, self.ipv4) if self.ipv4 else None
        return (self.family, self.address) if family in (0, self.family) else None


class Hosts:
    """The contents of a hosts file. Names are compared without regard to case.

    Args:
        lines: the lines.
        multi: each line counts that has a name. Otherwise only the first one does. Source: host.conf(5).
    """

    def __init__(self, lines: Iterable[Line] = (), *, multi: bool = True) -> None:
        self._multi = multi
        self._by_name: dict[str, list[Line]] = {}
        self._by_address: dict[tuple[int, str], Line] = {}
        for line in lines:
            for view in (line.view(_AF_INET), line.view(_AF_INET6)):
                if view:
                    self._by_address.setdefault(view, line)
            for name in {name.lower() for name in line.names}:
                self._by_name.setdefault(name, []).append(line)

    def __contains__(self, name: str) -> bool:
        """Return whether a line of either family has this name."""
        return name.lower() in self._by_name

    def by_name(self, name: str, family: int) -> Host | None:
        """Return the host of a name, with addresses of a family (0 for both) in the file's order."""
        found = [(line, view) for line in self._by_name.get(name.lower(), ()) if (view := line.view(family))]
        if not found:
            return None
        if not self._multi:
            del found[1:]
        canonical, *aliases = found[0][0].names
        for line, _ in found[1:]:
            aliases += line.names[1:]
            if line.names[0] != canonical:
                aliases.append(line.names[0])
        return Host(canonical, tuple(aliases), tuple(view for _, view in found))

    def by_address(self, family: int, address: str) -> Host | None:
        """Return the host of an address in its usual form: the first line that has it."""
        line = self._by_address.get((family, address))
        return Host(line.names[0], line.names[1:], ((family, address),)) if line else None


def parse(text: str, *, multi: bool = True) -> Hosts:
    """Read a hosts file. Lines that are not valid are ignored."""
    return Hosts((line for row in text.split("\n") if (line := _line(row))), multi=multi)


def _line(row: str) -> Line | None:
    # As bytes: in C, fewer characters separate words than in str.split, and a NUL ends the line.
    words = row.partition("#")[0].partition("\0")[0].encode(errors="surrogatepass").split()
    address, *names = [word.decode(errors="surrogatepass") for word in words] or [""]
    if not names:
        return None
    try:
        ipv4 = socket.inet_ntoa(socket.inet_pton(_AF_INET, address))
        return Line(_AF_INET, ipv4, tuple(names), ipv4)
    except (OSError, ValueError):
        pass
    try:
        packed = socket.inet_pton(_AF_INET6, address)
    except (OSError, ValueError):
        return None
    usual = socket.inet_ntop(_AF_INET6, packed)
    ipv4 = socket.inet_ntoa(packed[12:]) if packed.startswith(_MAPPED_PREFIX) else "127.0.0.1" if usual == "::1" else ""
    return Line(_AF_INET6, usual, tuple(names), ipv4)
