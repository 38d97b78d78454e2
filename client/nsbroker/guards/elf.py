"""Reads which functions a shared object imports, and which other objects it needs. Source: elf(5)."""

from __future__ import annotations

from mmap import ACCESS_READ, mmap
from struct import Struct, unpack_from

from ..wire.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_HEADER_OF_64_BITS = b"\x7fELF\x02\x01"
"""The magic number, 64 bits, little-endian. CPython under Linux runs on few other machines."""

_SECTION = Struct("<IIQQQQIIQQ")
"""Elf64_Shdr: name, type, flags, address, offset, size, link, info, alignment, size of an entry."""

_SYMBOL = Struct("<IBBHQQ")
"""Elf64_Sym: name, info, other, section, value, size."""

_DYNAMIC = Struct("<qQ")
"""Elf64_Dyn: tag, value."""

_SHT_DYNAMIC = 6
_SHT_DYNSYM = 11
_SHN_UNDEF = 0
_DT_NEEDED = 1
_DT_RPATH = 15
_DT_RUNPATH = 29


class SharedObject(Record):
    """The references of a shared object: symbols of other objects, their names, and the directories to look in."""

    symbols: frozenset[bytes]
    needed: tuple[str, ...]
    directories: tuple[str, ...]


def read_file(path: str) -> SharedObject:
    """Read a shared object.

    Raises:
        OSError: as open(2).
        ValueError: this function can't read it, or it is no shared object.
    """
    with open(path, "rb") as file:
        data = mmap(file.fileno(), 0, access=ACCESS_READ)  # A ValueError if it is empty.
    return read(data)


def read(data: bytes | mmap) -> SharedObject:
    """Read the contents of a shared object.

    Raises:
        ValueError: this function can't read it, or it is no shared object.
    """
    if data[: len(_HEADER_OF_64_BITS)] != _HEADER_OF_64_BITS:
        raise ValueError("it is no 64-bit little-endian ELF file")
    try:
        return _references(data)
    except Exception as error:  # A malformed table can lead to any of them.
        raise ValueError(f"it is a malformed ELF file: {error}") from error


def _references(data: bytes | mmap) -> SharedObject:
    (table,) = unpack_from("<Q", data, 0x28)
    size, count = unpack_from("<HH", data, 0x3A)
    sections = [_SECTION.unpack_from(data, table + size * number) for number in range(count)]
    symbols: set[bytes] = set()
    entries: list[tuple[int, str]] = []
    found = False
    for _, section_type, _, _, offset, length, link, _, _, _ in sections:
        if section_type == _SHT_DYNSYM:
            found = True
            symbols.update(_undefined(data[offset : offset + length], _strings(data, sections, link)))
        elif section_type == _SHT_DYNAMIC:
            strings = _strings(data, sections, link)
            entries += [
                (tag, _string(strings, value).decode())
                for tag, value in _DYNAMIC.iter_unpack(data[offset : offset + length])
                if tag in (_DT_NEEDED, _DT_RPATH, _DT_RUNPATH)
            ]
    if not found:
        raise ValueError("it has no table of dynamic symbols")
    needed = tuple(name for tag, name in entries if tag == _DT_NEEDED)
    paths = [path for tag, path in entries if tag != _DT_NEEDED]
    return SharedObject(frozenset(symbols), needed, tuple(":".join(paths).split(":")) if paths else ())


def _strings(data: bytes | mmap, sections: list[tuple[int, ...]], number: int) -> bytes:
    _, _, _, _, offset, length, *_ = sections[number]
    return data[offset : offset + length]


def _string(strings: bytes, start: int) -> bytes:
    return strings[start : strings.index(b"\0", start)]


def _undefined(table: bytes, strings: bytes) -> Iterator[bytes]:
    for name, _, _, section, _, _ in _SYMBOL.iter_unpack(table):
        if section == _SHN_UNDEF and name:
            yield _string(strings, name)
