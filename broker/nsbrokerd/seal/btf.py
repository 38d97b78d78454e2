"""BTF, the kernel's notes on types: writes the little that the map of sealed sockets needs. Pure.

Source: Documentation/bpf/btf.rst of the kernel.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

MAGIC = 0xEB9F
HEADER = struct.Struct("=HBBIIIII")
"""Magic, version, flags, length of the header; where the types are, and how long; the same of the strings."""
TYPE = struct.Struct("=III")
"""Where the name is; kind and count; size or type."""

INT, STRUCT = 1, 4
_SIGNED = 1
_KIND_SHIFT = 24

KEY_TYPE, VALUE_TYPE = 1, 4
"""The types of `describe_entry` by their numbers: an int, and the struct."""
_U32, _U64 = 2, 3


class _Strings:
    def __init__(self) -> None:
        self.data = b"\0"

    def add(self, text: str) -> int:
        place = len(self.data)
        self.data += text.encode() + b"\0"
        return place


def describe_entry(name: str, members: Sequence[tuple[str, int]]) -> bytes:
    """Write the types of a map whose key is a descriptor and whose value is this struct.

    Args:
        name: of the struct.
        members: names and sizes, 4 or 8 bytes, one after the other without a gap.
    """
    strings = _Strings()
    types = b"".join(
        _integer(strings.add(text), size, flags)
        for text, size, flags in (("int", 4, _SIGNED), ("u32", 4, 0), ("u64", 8, 0))
    )
    fields, offset = b"", 0
    for member, size in members:
        fields += TYPE.pack(strings.add(member), _U32 if size == 4 else _U64, offset * 8)
        offset += size
    types += TYPE.pack(strings.add(name), STRUCT << _KIND_SHIFT | len(members), offset) + fields
    header = HEADER.pack(MAGIC, 1, 0, HEADER.size, 0, len(types), len(types), len(strings.data))
    return header + types + strings.data


def _integer(name: int, size: int, flags: int) -> bytes:
    return TYPE.pack(name, INT << _KIND_SHIFT, size) + struct.pack("=I", flags << 24 | size * 8)
