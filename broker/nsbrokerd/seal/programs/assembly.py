"""An assembler for BPF programs, with names for registers and labels. Pure.

Source: Documentation/bpf/standardization/instruction-set.rst of the kernel.
"""

from __future__ import annotations

import struct

R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, STACK = range(11)
"""R0 holds results. R1 to R5 hold arguments, and each call destroys them. R6 to R9 survive calls. The stack grows
down from STACK."""

_INSTRUCTION = struct.Struct("=BBhi")
_MAX_DISTANCE = 2**15 - 1

_LOAD_MEMORY, _STORE_IMMEDIATE, _STORE_REGISTER = 0x61, 0x62, 0x63
_ATOMIC, _ATOMIC_OR, _ATOMIC_AND, _ATOMIC_REPLACE = 0xC3, 0x40, 0x50, 0xF1
_SIZE = {1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18}
"""BPF_B, BPF_H, BPF_W, BPF_DW."""
_LOAD_IMMEDIATE_64 = 0x18
_PSEUDO_MAP_FD = 1
_CALL, _EXIT, _GOTO = 0x85, 0x95, 0x05
_FROM_REGISTER = 0x08
_ALU_64 = {"add": 0x07, "and": 0x57, "or": 0x47, "mov": 0xB7}
_TO_BIG_ENDIAN = 0xDC
_JUMP_64 = {"==": 0x15, "!=": 0x55, ">": 0x25, ">=": 0x35, "<": 0xA5, "<=": 0xB5}
"""Comparisons are unsigned."""


class Assembly:
    """A program, written instruction by instruction."""

    def __init__(self) -> None:
        self._lines: list[tuple[int, int, int, int, str]] = []
        self._labels: dict[str, int] = {}

    def label(self, name: str) -> None:
        """Name the position of the next instruction.

        Raises:
            ValueError: the program already has a label of this name.
        """
        if name in self._labels:
            raise ValueError(f"the program has two labels {name!r}; rename one")
        self._labels[name] = len(self._lines)

    def _add(self, code: int, to: int = 0, source: int = 0, offset: int = 0, number: int = 0, label: str = "") -> None:
        # A number has 32 bits, with or without a sign; the kernel extends the sign.
        signed = number - 2**32 if number >= 2**31 else number
        self._lines.append((code, source << 4 | to, offset, signed, label))

    def load(self, to: int, base: int, offset: int, size: int = 4) -> None:
        """Load `size` bytes at `base + offset`, and fill the register's other bits with zeros."""
        self._add(_LOAD_MEMORY | _SIZE[size], to, base, offset)

    def store(self, base: int, offset: int, source: int, size: int = 4) -> None:
        """Store `size` bytes of a register at `base + offset`."""
        self._add(_STORE_REGISTER | _SIZE[size], base, source, offset)

    def store_number(self, base: int, offset: int, number: int, size: int = 4) -> None:
        """Store a number at `base + offset`."""
        self._add(_STORE_IMMEDIATE | _SIZE[size], base, 0, offset, number)

    def set_bits(self, base: int, offset: int, source: int) -> None:
        """Set each bit of 4 bytes in memory that is 1 in a register, in one step that no other processor can divide."""
        self._add(_ATOMIC, base, source, offset, _ATOMIC_OR)

    def replace(self, base: int, offset: int, source: int) -> None:
        """Store a register in 4 bytes of memory if they equal R0, in one step. Then R0 is their former value."""
        self._add(_ATOMIC, base, source, offset, _ATOMIC_REPLACE)

    def keep_bits(self, base: int, offset: int, source: int) -> None:
        """Clear each bit of 4 bytes in memory that is 0 in a register, in one step."""
        self._add(_ATOMIC, base, source, offset, _ATOMIC_AND)

    def copy(self, to: int, source: int) -> None:
        """Copy a register."""
        self._add(_ALU_64["mov"] | _FROM_REGISTER, to, source)

    def set(self, to: int, number: int) -> None:
        """Set a register to a number of 31 bits."""
        self._add(_ALU_64["mov"], to, number=number)

    def set_double_word(self, to: int, number: int) -> None:
        """Set a register to an unsigned number of 64 bits."""
        self._add(_LOAD_IMMEDIATE_64, to, number=number & 0xFFFFFFFF)
        self._add(0, number=number >> 32)

    def set_map(self, to: int, map_fd: int) -> None:
        """Set a register to the map that this descriptor stands for."""
        self._add(_LOAD_IMMEDIATE_64, to, _PSEUDO_MAP_FD, number=map_fd)
        self._add(0)

    def add(self, to: int, number: int) -> None:
        """Add a number to a register."""
        self._add(_ALU_64["add"], to, number=number)

    def add_register(self, to: int, source: int) -> None:
        """Add a register to another one."""
        self._add(_ALU_64["add"] | _FROM_REGISTER, to, source)

    def mask(self, to: int, source: int) -> None:
        """Clear each bit of a register that is 0 in another register."""
        self._add(_ALU_64["and"] | _FROM_REGISTER, to, source)

    def mask_number(self, to: int, number: int) -> None:
        """Clear each bit of a register that is 0 in a number."""
        self._add(_ALU_64["and"], to, number=number)

    def merge(self, to: int, source: int) -> None:
        """Set each bit of a register that is 1 in another register."""
        self._add(_ALU_64["or"] | _FROM_REGISTER, to, source)

    def merge_number(self, to: int, number: int) -> None:
        """Set each bit of a register that is 1 in a number."""
        self._add(_ALU_64["or"], to, number=number)

    def swap_port(self, to: int) -> None:
        """Convert 16 bits from network to host order."""
        self._add(_TO_BIG_ENDIAN, to, number=16)

    def go(self, label: str) -> None:
        """Jump to a label."""
        self._add(_GOTO, label=label)

    def go_if(self, register: int, comparison: str, number: int, label: str) -> None:
        """Jump to a label if the comparison of a register with a number of 31 bits holds."""
        self._add(_JUMP_64[comparison], register, number=number, label=label)

    def go_if_register(self, register: int, comparison: str, other: int, label: str) -> None:
        """Jump to a label if the comparison of two registers holds."""
        self._add(_JUMP_64[comparison] | _FROM_REGISTER, register, other, label=label)

    def call(self, helper: int) -> None:
        """Call a helper of the kernel with R1 to R5 as arguments. R0 holds its result."""
        self._add(_CALL, number=helper)

    def end(self, result: int) -> None:
        """End the program with this result."""
        self.set(R0, result)
        self._add(_EXIT)

    def assemble(self) -> bytes:
        """Return the program as an array of `struct bpf_insn`.

        Raises:
            ValueError: a jump has no target, or its target is too far away.
        """
        return b"".join(self._encode(index) for index in range(len(self._lines)))

    def _encode(self, index: int) -> bytes:
        code, registers, offset, number, label = self._lines[index]
        if label:
            if label not in self._labels:
                raise ValueError(f"instruction {index} jumps to {label!r}, but the program has no such label")
            offset = self._labels[label] - index - 1
            if abs(offset) > _MAX_DISTANCE:
                raise ValueError(f"instruction {index} is too far from {label!r} to jump there")
        return _INSTRUCTION.pack(code, registers, offset, number)
