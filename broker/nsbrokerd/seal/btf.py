"""BTF, the kernel's format for descriptions of types: writes our own, and reads the kernel's. Pure.

Source: Documentation/bpf/btf.rst of the kernel.
"""

from __future__ import annotations

import array
import bisect
import struct
from collections.abc import Iterable, Iterator, Sequence

_MAGIC = 0xEB9F
_HEADER = struct.Struct("=HBBIIIII")
"""Magic, version, flags, length of the header, offset and length of the types, offset and length of the strings."""
_TYPE = struct.Struct("=III")
"""Offset of the name, BTF kind and number of members, size or type."""

_INT, _ARRAY, _STRUCT, _UNION, _ENUM, _TYPEDEF, _FUNC, _FUNC_PROTO, _VAR, _DATASEC, _DECL_TAG, _ENUM64 = (
    *(1, 3, 4, 5, 6, 8, 12, 13, 14, 15, 17, 19),
)
_FIXED_BYTES = {_INT: 4, _ARRAY: 12, _VAR: 4, _DECL_TAG: 4}
_BYTES_FOR_EACH = {_STRUCT: 12, _UNION: 12, _ENUM: 8, _FUNC_PROTO: 8, _DATASEC: 12, _ENUM64: 12}
_KINDS = range(_ENUM64 + 1)
_WORDS = [3 + _FIXED_BYTES.get(btf_kind, 0) // 4 for btf_kind in _KINDS]
_WORDS_FOR_EACH = [_BYTES_FOR_EACH.get(btf_kind, 0) // 4 for btf_kind in _KINDS]
_KIND_SHIFT, _KIND_BITS, _NUMBER_BITS = 24, 0x7F, 0xFFFFFF
"""Before Linux 7, kind and number have fewer bits, and those above are 0."""
_SIGNED = 1

KEY_TYPE, VALUE_TYPE = 1, 4
"""Numbers of the types in `describe_entry`: an int, and the struct."""
_U32, _U64 = 2, 3


def describe_entry(name: str, members: Sequence[tuple[str, int]]) -> bytes:
    """Return the types of a map with a descriptor as its key and a struct as its value.

    Args:
        name: the name of the struct.
        members: names and sizes (4 or 8 bytes), one after the other without gaps.
    """
    strings, name_at = b"\0", {}
    for text in ("int", "u32", "u64", *dict(members), name):
        name_at[text] = len(strings)
        strings += text.encode() + b"\0"
    types = b"".join(
        _TYPE.pack(name_at[text], _INT << _KIND_SHIFT, size) + struct.pack("=I", flags << 24 | size * 8)
        for text, size, flags in (("int", 4, _SIGNED), ("u32", 4, 0), ("u64", 8, 0))
    )
    fields, offset = b"", 0
    for member, size in members:
        fields += _TYPE.pack(name_at[member], _U32 if size == 4 else _U64, offset * 8)
        offset += size
    types += _TYPE.pack(name_at[name], _STRUCT << _KIND_SHIFT | len(members), offset) + fields
    header = _HEADER.pack(_MAGIC, 1, 0, _HEADER.size, 0, len(types), len(types), len(strings))
    return header + types + strings


class KernelTypes:
    """A description of types, to look up by name. For a kernel's description, the constructor takes about 0.1 s."""

    def __init__(self, data: bytes) -> None:
        """Index the types of a description, such as the content of /sys/kernel/btf/vmlinux.

        Raises:
            OSError: it is in another format.
        """
        self._data = data
        magic, _, _, header_bytes, types_at, types_bytes, strings_at, _ = _HEADER.unpack_from(data)
        if magic != _MAGIC:
            raise OSError(f"this kernel describes its types in an unknown format (magic {magic:#x}, not {_MAGIC:#x})")
        self._strings_at = header_bytes + strings_at
        self._places = array.array("I", [0])
        first = header_bytes + types_at
        words = array.array("I", data[first : first + types_bytes])
        place, end, note = 0, len(words), self._places.append
        try:
            while place < end:
                note(first + 4 * place)
                info = words[place + 1]
                btf_kind = info >> _KIND_SHIFT & _KIND_BITS
                place += _WORDS[btf_kind] + _WORDS_FOR_EACH[btf_kind] * (info & _NUMBER_BITS)
        except IndexError:
            raise OSError(f"this kernel describes its types in an unknown format (kind {btf_kind})") from None

    def function(self, name: str) -> int:
        """Return the number of a function.

        Raises:
            OSError: the kernel has no such function.
        """
        return self._find(name, _FUNC)

    def _find(self, name: str, btf_kind: int) -> int:
        wanted = self._data.find(b"\0" + name.encode() + b"\0", self._strings_at) + 1
        # Look for the offset of the name in the bytes: to unpack all types for each name would take a second.
        pattern, place = struct.pack("=I", max(0, wanted - self._strings_at)), -1
        while wanted and (place := self._data.find(pattern, place + 1, self._strings_at)) != -1:
            number = bisect.bisect_left(self._places, place)
            if number < len(self._places) and self._places[number] == place:
                info = _TYPE.unpack_from(self._data, place)[1]
                if info >> _KIND_SHIFT & _KIND_BITS == btf_kind:
                    return number
        raise OSError(f"this kernel has no {name}; use a newer kernel")

    def offsets(self, name: str, members: Iterable[str]) -> dict[str, int]:
        """Return the offsets of a struct's members, in bytes. The members of nameless inner structs count, too.

        Raises:
            OSError: the kernel has no such struct or member.
        """
        found = dict(self._members(self._find(name, _STRUCT), 0))
        try:
            return {member: found[member] for member in members}
        except KeyError as error:
            raise OSError(f"this kernel's struct {name} has no {error.args[0]}; use a newer kernel") from error

    def inner_offsets(self, name: str, member: str, members: Iterable[str]) -> dict[str, int]:
        """Return the offsets of the members of a struct without a name of its own, which is a member of a struct.

        A typedef can name it.

        Raises:
            OSError: the kernel has no such struct or member.
        """
        place = self._places[self._find(name, _STRUCT)]
        for index in range(_TYPE.unpack_from(self._data, place)[1] & _NUMBER_BITS):
            name_at, member_type, _ = _TYPE.unpack_from(self._data, place + _TYPE.size * (index + 1))
            if self._text(name_at) == member:
                found = dict(self._members(self._named_type(member_type), 0))
                return {one: found[one] for one in members}
        raise OSError(f"this kernel's struct {name} has no {member}; use a newer kernel")

    def _named_type(self, number: int) -> int:
        """Return the type that a typedef stands for, or the type itself."""
        _, info, other = _TYPE.unpack_from(self._data, self._places[number])
        return other if info >> _KIND_SHIFT & _KIND_BITS == _TYPEDEF else number

    def _text(self, name_at: int) -> str:
        start = self._strings_at + name_at
        return self._data[start : self._data.index(b"\0", start)].decode()

    def _members(self, number: int, base: int) -> Iterator[tuple[str, int]]:
        place = self._places[number]
        info = _TYPE.unpack_from(self._data, place)[1]
        if info >> _KIND_SHIFT & _KIND_BITS not in (_STRUCT, _UNION):
            return
        # If the flag is set, the highest byte of an offset is the size of a bit field.
        bits = 0xFFFFFF if info >> 31 else 0xFFFFFFFF
        for index in range(info & _NUMBER_BITS):
            name_at, member_type, offset = _TYPE.unpack_from(self._data, place + _TYPE.size * (index + 1))
            at = base + (offset & bits) // 8
            if name_at:
                yield self._text(name_at), at
            else:
                yield from self._members(member_type, at)
