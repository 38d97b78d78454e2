"""Reads which functions a shared object imports from other libraries. Source: elf(5)."""

from __future__ import annotations

from struct import Struct, unpack_from

_HEADER_OF_64_BITS = b"\x7fELF\x02\x01"
"""The magic number, 64 bits, little-endian. CPython under Linux runs on few other machines."""

_SECTION = Struct("<IIQQQQIIQQ")
"""Elf64_Shdr: name, type, flags, address, offset, size, link, info, alignment, size of an entry."""

_SYMBOL = Struct("<IBBHQQ")
"""Elf64_Sym: name, info, other, section, value, size."""

_SHT_DYNSYM = 11
_SHN_UNDEF = 0


def imported_symbols(data: bytes) -> set[bytes]:
    """Return the names of the symbols that a shared object imports.

    Args:
        data: the contents of its file.

    Raises:
        ValueError: this function can't read it, or it is no shared object.
    """
    if not data.startswith(_HEADER_OF_64_BITS):
        raise ValueError("it is no 64-bit little-endian ELF file")
    try:
        return _imported(data)
    except Exception as error:  # A malformed table can lead to any of them.
        raise ValueError(f"it is a malformed ELF file: {error}") from error


def _imported(data: bytes) -> set[bytes]:
    (table,) = unpack_from("<Q", data, 0x28)
    size, count = unpack_from("<HH", data, 0x3A)
    sections = [_SECTION.unpack_from(data, table + size * number) for number in range(count)]
    names: set[bytes] = set()
    found = False
    for _, section_type, _, _, offset, length, link, _, _, _ in sections:
        if section_type != _SHT_DYNSYM:
            continue
        found = True
        _, _, _, _, strings, *_ = sections[link]
        for name, _, _, section, _, _ in _SYMBOL.iter_unpack(data[offset : offset + length]):
            if section == _SHN_UNDEF and name:
                names.add(data[strings + name : data.index(b"\0", strings + name)])
    if not found:
        raise ValueError("it has no table of dynamic symbols")
    return names
