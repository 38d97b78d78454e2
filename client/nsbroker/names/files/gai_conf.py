"""gai.conf(5): the tables by which addresses are sorted. Lines that are not valid are ignored.

Source: gaiconf_init and the default tables in glibc's sysdeps/posix/getaddrinfo.c. Its defaults are those of RFC 3484,
with additional labels, also in versions after RFC 6724.
"""

from __future__ import annotations

import re
import socket

from ...wire.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeAlias

    Row: TypeAlias = tuple[int, int, int]
    """(first bits of the address as a number, how many bits, value)."""
    Table: TypeAlias = tuple[tuple[int, dict[int, int]], ...]
    """(how many bits, the values by the first bits of the address). The longest prefixes come first."""

_AF_INET, _AF_INET6 = socket.AF_INET, socket.AF_INET6
_MOST = 0x7FFFFFFF
_MAPPED_BITS = 96


def _row(address: bytes, bits: int, value: int) -> Row:
    return int.from_bytes(address, "big") >> (8 * len(address) - bits), bits, value


def _table(rows: Iterable[Row]) -> Table:
    """Make the table of rows. The first of several rows with the same prefix counts."""
    table: dict[int, dict[int, int]] = {}
    for prefix, bits, value in rows:
        table.setdefault(bits, {}).setdefault(prefix, value)
    return tuple(sorted(table.items(), reverse=True))


def _default(*rows: tuple[str, int, int]) -> Table:
    return _table(
        _row(socket.inet_pton(_AF_INET6 if ":" in prefix else _AF_INET, prefix), bits, value)
        for prefix, bits, value in rows
    )


class Rules(Record):
    """The tables. `labels` and `precedences` are for IPv6 addresses, `scopes` for IPv4 addresses."""

    labels: Table = _default(
        ("::1", 128, 0),
        ("::", 96, 3),
        ("::ffff:0:0", 96, 4),
        ("2001::", 32, 7),
        ("2002::", 16, 2),
        ("fec0::", 10, 5),
        ("fc00::", 7, 6),
        ("::", 0, 1),
    )
    precedences: Table = _default(
        ("::1", 128, 50), ("::", 96, 20), ("::ffff:0:0", 96, 10), ("2002::", 16, 30), ("::", 0, 40)
    )
    scopes: Table = _default(("169.254.0.0", 16, 2), ("127.0.0.0", 8, 2), ("0.0.0.0", 0, 14))


def value_for(table: Table, number: int, size: int = 128) -> int:
    """Return the value of the longest prefix that an address has. The address is a number of `size` bits.

    Raises:
        LookupError: the table has no value for all addresses.
    """
    for bits, values in table:
        prefix = number >> (size - bits)
        if prefix in values:
            return values[prefix]
    raise LookupError


def parse(text: str) -> Rules:
    """Read a gai.conf. One valid line of a kind replaces the whole default table of this kind."""
    tables: dict[str, list[Row]] = {"label": [], "precedence": [], "scopev4": []}
    for line in text.split("\n"):
        words = line.partition("#")[0].split()
        if len(words) >= 2 and words[0] in tables:
            read = _scope if words[0] == "scopev4" else _prefix
            if row := read(words[1], words[2] if len(words) > 2 else ""):
                tables[words[0]].append(row)
    default = Rules()
    return Rules(
        _complete(tables["label"], 1) or default.labels,
        _complete(tables["precedence"], 40) or default.precedences,
        _complete(tables["scopev4"], 14) or default.scopes,
    )


def _prefix(prefix: str, value: str) -> Row | None:
    address, slash, length = prefix.partition("/")
    packed = _pack(_AF_INET6, address)
    bits, number = _number(length, 128) if slash else 128, _number(value, _MOST)
    return None if packed is None or bits is None or number is None else _row(packed, bits, number)


def _scope(prefix: str, value: str) -> Row | None:
    address, slash, length = prefix.partition("/")
    if packed := _pack(_AF_INET6, address):
        bits = _number(length, 128) if slash else 128
        if bits is None or bits < _MAPPED_BITS or packed[:12] != bytes(10) + b"\xff\xff":
            return None
        packed, bits = packed[12:], bits - _MAPPED_BITS
    else:
        packed, bits = _pack(_AF_INET, address), _number(length, 32) if slash else 32
    number = _number(value, _MOST)
    return None if packed is None or bits is None or number is None else _row(packed, bits, number)


def _pack(family: int, address: str) -> bytes | None:
    try:
        return socket.inet_pton(family, address)
    except (OSError, ValueError):
        return None


def _number(text: str, most: int) -> int | None:
    """Read a number as strtoul(3) does, for which an empty text is 0. Return `None` for other texts."""
    if not re.fullmatch(r"\+?[0-9]{0,20}", text):
        return None
    number = int(text or 0) if text != "+" else 0
    return number if number <= most else None


def _complete(rows: list[Row], default: int) -> Table:
    """Make a table, and add the value of all other addresses. An empty table stays empty."""
    if rows and all(bits for _, bits, _ in rows):
        rows.append((0, 0, default))
    return _table(rows)
