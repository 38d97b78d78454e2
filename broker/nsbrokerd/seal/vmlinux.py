"""The running kernel's own notes on its types (BTF): where the fields of its sockets are. Takes about 0.1 s.

Source: Documentation/bpf/btf.rst of the kernel.
"""

from __future__ import annotations

import array
from pathlib import Path

from .btf import HEADER, MAGIC, TYPE

_PATH = Path("/sys/kernel/btf/vmlinux")

_INT, _ARRAY, _STRUCT, _UNION, _ENUM, _FUNC, _FUNC_PROTO, _VAR, _DATASEC, _DECL_TAG, _ENUM64 = (
    *(1, 3, 4, 5, 6, 12, 13, 14, 15, 17, 19),
)
_FIXED_BYTES = {_INT: 4, _ARRAY: 12, _VAR: 4, _DECL_TAG: 4}
_BYTES_FOR_EACH = {_STRUCT: 12, _UNION: 12, _ENUM: 8, _FUNC_PROTO: 8, _DATASEC: 12, _ENUM64: 12}


class KernelTypes:
    """The types, by number and by name."""

    def __init__(self, data: bytes | None = None) -> None:
        """Read them.

        Raises:
            OSError: this kernel has no notes on its types.
        """
        self._data = _PATH.read_bytes() if data is None else data
        magic, _, _, header_bytes, types_at, types_bytes, strings_at, _ = HEADER.unpack_from(self._data)
        if magic != MAGIC:
            raise OSError(f"{_PATH}: not what was expected there")
        self._strings_at = header_bytes + strings_at
        self._places = array.array("I", [0])
        place = header_bytes + types_at
        end = place + types_bytes
        while place < end:
            self._places.append(place)
            info = TYPE.unpack_from(self._data, place)[1]
            kind = info >> 24 & 31
            place += TYPE.size + _FIXED_BYTES.get(kind, 0) + _BYTES_FOR_EACH.get(kind, 0) * (info & 0xFFFF)

    def function(self, name: str) -> int:
        """Give the number of a function.

        Raises:
            OSError: there is none.
        """
        return self._find(name, _FUNC)

    def _find(self, name: str, kind: int) -> int:
        wanted = self._data.find(b"\0" + name.encode() + b"\0", self._strings_at) + 1 - self._strings_at
        for number in range(1, len(self._places)):
            name_at, info, _ = TYPE.unpack_from(self._data, self._places[number])
            if name_at == wanted and info >> 24 & 31 == kind:
                return number
        raise OSError(f"this kernel has no {name}")

    def offsets(self, name: str, members: tuple[str, ...]) -> dict[str, int]:
        """Give where members of a struct are, in bytes; those of nameless structs and unions in it count as its own.

        Raises:
            OSError: it has no such struct or member.
        """
        found: dict[str, int] = {}
        self._collect(self._find(name, _STRUCT), 0, found)
        missing = [member for member in members if member not in found]
        if missing:
            raise OSError(f"this kernel's struct {name} has no {missing[0]}")
        return {member: found[member] for member in members}

    def _collect(self, number: int, base: int, found: dict[str, int]) -> None:
        place = self._places[number]
        info = TYPE.unpack_from(self._data, place)[1]
        if info >> 24 & 31 not in (_STRUCT, _UNION):
            return
        # With the flag, the highest byte of an offset is the size of a bit field.
        bits = 0xFFFFFF if info >> 31 else 0xFFFFFFFF
        for index in range(info & 0xFFFF):
            name_at, member_type, offset = TYPE.unpack_from(self._data, place + TYPE.size * (index + 1))
            at = base + (offset & bits) // 8
            if name_at:
                start = self._strings_at + name_at
                found[self._data[start : self._data.index(b"\0", start)].decode()] = at
            else:
                self._collect(member_type, at, found)
