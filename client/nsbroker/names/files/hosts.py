"""hosts(5): the names and addresses in a hosts file."""

from __future__ import annotations

import socket

from ...wire.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_AF_INET = int(socket.AF_INET)
_AF_INET6 = int(socket.AF_INET6)


class Line(Record):
    """One line: an address in its usual form, and its names, the canonical one first."""

    family: int
    address: str
    names: tuple[str, ...]


class Hosts:
    """The contents of a hosts file. Names are compared without regard to case."""

    def __init__(self, lines: Iterable[Line] = ()) -> None:
        self._by_name: dict[str, list[Line]] = {}
        self._by_address: dict[str, Line] = {}
        for line in lines:
            self._by_address.setdefault(line.address, line)
            for name in {name.lower() for name in line.names}:
                self._by_name.setdefault(name, []).append(line)

    def by_name(self, name: str, families: Iterable[int]) -> tuple[Line, ...]:
        """Return the lines with this name and one of these families, in the file's order.

        The canonical name of `name` is the first name of the first line.
        """
        wanted = frozenset(families)
        return tuple(line for line in self._by_name.get(name.lower(), ()) if line.family in wanted)

    def by_address(self, address: str) -> tuple[str, ...]:
        """Return the names of an address in its usual form, the canonical one first, or () if it has no name."""
        line = self._by_address.get(address)
        return line.names if line else ()


def parse(text: str) -> Hosts:
    """Read a hosts file. Lines that are not valid are ignored."""
    return Hosts(line for row in text.split("\n") if (line := _line(row)))


def _line(row: str) -> Line | None:
    fields = row.partition("#")[0].split()
    if len(fields) < 2:
        return None
    for family in (_AF_INET, _AF_INET6):
        try:
            packed = socket.inet_pton(family, fields[0])
        except (OSError, ValueError):
            continue
        return Line(family, socket.inet_ntop(family, packed), tuple(fields[1:]))
    return None
