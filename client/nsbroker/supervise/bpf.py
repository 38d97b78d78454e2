"""An assembler for classic BPF, with labels instead of distances. Pure. Source: Documentation/networking/filter.rst."""

from __future__ import annotations

import struct

from ..wire.record import Record

_LOAD_WORD = 0x20
"""BPF_LD | BPF_W | BPF_ABS."""
_JUMP_EQUAL = 0x15
"""BPF_JMP | BPF_JEQ | BPF_K."""
_JUMP_GREATER_EQUAL = 0x35
"""BPF_JMP | BPF_JGE | BPF_K."""
_RETURN = 0x06
"""BPF_RET | BPF_K."""
_MAX_DISTANCE = 255
"""The distance of a jump is one byte."""

_SOCK_FILTER = struct.Struct("=HBBI")


class Instruction(Record):
    """One instruction. If its comparison holds, it jumps to `label`, otherwise the next instruction runs."""

    code: int
    operand: int
    label: str = ""


def load(offset: int) -> Instruction:
    """Return an instruction that loads the word at this offset of the data."""
    return Instruction(_LOAD_WORD, offset)


def if_equal(value: int, label: str) -> Instruction:
    """Return an instruction that jumps to `label` if the loaded word is `value`."""
    return Instruction(_JUMP_EQUAL, value, label)


def if_at_least(value: int, label: str) -> Instruction:
    """Return an instruction that jumps to `label` if the loaded word, unsigned, is at least `value`."""
    return Instruction(_JUMP_GREATER_EQUAL, value, label)


def end_with(value: int) -> Instruction:
    """Return an instruction that ends the program with this value."""
    return Instruction(_RETURN, value)


def assemble(program: list[Instruction | str]) -> bytes:
    """Return the program as an array of `struct sock_filter`.

    Args:
        program: the instructions. A string is the label of the instruction after it.

    Raises:
        ValueError: a jump goes back, too far, or to a label that is missing.
    """
    places: dict[str, int] = {}
    instructions: list[Instruction] = []
    for line in program:
        if isinstance(line, str):
            places[line] = len(instructions)
        else:
            instructions.append(line)
    return b"".join(_encode(line, index, places) for index, line in enumerate(instructions))


def _encode(line: Instruction, index: int, places: dict[str, int]) -> bytes:
    distance = 0
    if line.label:
        distance = places.get(line.label, -1) - index - 1
        if not 0 <= distance <= _MAX_DISTANCE:
            raise ValueError(f"instruction {index} can't jump to {line.label!r}")
    return _SOCK_FILTER.pack(line.code, distance, 0, line.operand)
