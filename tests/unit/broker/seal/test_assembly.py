"""The assembler writes the instructions of the kernel's instruction set."""

from __future__ import annotations

import struct

import pytest

from nsbrokerd.seal.programs.assembly import R0, R1, R2, R6, STACK, Assembly


def instructions(code: Assembly) -> list[tuple[int, int, int, int]]:
    return list(struct.iter_unpack("=BBhi", code.assemble()))


def test_instructions_are_those_of_the_kernel() -> None:
    """Codes as the kernel's own macros make them: BPF_LDX_MEM, BPF_ST_MEM, BPF_STX_MEM, BPF_ALU64, BPF_JMP, ..."""
    code = Assembly()
    code.load(R1, R6, 8, 2)
    code.load(R1, R6, -8, 8)
    code.store(STACK, -4, R1)
    code.store_number(STACK, -8, 7, 1)
    code.copy(R2, STACK)
    code.add(R2, -8)
    code.mask_number(R2, 3)
    code.merge(R2, R1)
    code.swap_port(R2)
    code.call(107)
    code.end(3)
    assert instructions(code) == [
        (0x69, 0x61, 8, 0),
        (0x79, 0x61, -8, 0),
        (0x63, 0x1A, -4, 0),
        (0x72, 0x0A, -8, 7),
        (0xBF, 0xA2, 0, 0),
        (0x07, 0x02, 0, -8),
        (0x57, 0x02, 0, 3),
        (0x4F, 0x12, 0, 0),
        (0xDC, 0x02, 0, 16),
        (0x85, 0x00, 0, 107),
        (0xB7, 0x00, 0, 3),
        (0x95, 0x00, 0, 0),
    ]


def test_wide_numbers_take_two_instructions() -> None:
    code = Assembly()
    code.set_double_word(R1, 0x1234_5678_FFFF_FFFF)
    code.set_map(R2, 5)
    assert instructions(code) == [(0x18, 1, 0, -1), (0, 0, 0, 0x12345678), (0x18, 0x12, 0, 5), (0, 0, 0, 0)]


def test_jumps_go_both_ways() -> None:
    """A distance counts instructions, from the next one on."""
    code = Assembly()
    code.label("again")
    code.set(R0, 1)
    code.go_if(R0, "==", 1, "end")
    code.go_if_register(R0, ">=", R1, "again")
    code.go("again")
    code.label("end")
    code.end(0)
    assert instructions(code)[1:4] == [(0x15, 0, 2, 1), (0x3D, 0x10, -3, 0), (0x05, 0, -4, 0)]


def test_label_that_is_nowhere_is_an_error() -> None:
    code = Assembly()
    code.go("nowhere")
    with pytest.raises(ValueError, match="'nowhere', but the program has no such label"):
        code.assemble()


def test_label_stands_once() -> None:
    code = Assembly()
    code.label("here")
    with pytest.raises(ValueError, match="two labels 'here'"):
        code.label("here")


def test_jump_that_is_too_far_is_an_error() -> None:
    code = Assembly()
    code.go("end")
    for _ in range(2**15):
        code.set(R0, 0)
    code.label("end")
    with pytest.raises(ValueError, match="too far"):
        code.assemble()
