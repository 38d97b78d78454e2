"""The kernel's description of its types is read as old and new kernels write it, and never guessed at."""

from __future__ import annotations

import struct

import pytest

from nsbrokerd.seal.btf import KernelTypes

STRINGS = b"\0sock\0port\0lock\0lock_t\0section\0unsigned int\0bind\0"
INT, STRUCT, TYPEDEF, FUNC, DATASEC = 1, 4, 8, 12, 15
LATER_KIND = 20
"""The first kind that no kernel had when this was written."""


def named(text: str) -> int:
    return STRINGS.index(b"\0" + text.encode() + b"\0") + 1


def a_type(name: str, kind: int, number: int, size: int, rest: bytes = b"") -> bytes:
    return struct.pack("=III", named(name), kind << 24 | number, size) + rest


def description(*types: bytes, header_bytes: int = 24) -> bytes:
    header = struct.pack("=HBBIIIII", 0xEB9F, 1, 0, header_bytes, 0, len(b"".join(types)), len(b"".join(types)), 99)
    return header.ljust(header_bytes, b"\0") + b"".join(types) + STRINGS


UINT = a_type("unsigned int", INT, 0, 4, bytes(4))
SOCK = a_type("sock", STRUCT, 1, 16, struct.pack("=III", named("port"), 1, 12 * 8))


@pytest.mark.parametrize("header_bytes", [24, 32])
def test_description_is_read_with_the_header_of_old_and_new_kernels(header_bytes: int) -> None:
    """Linux 7 has two more fields in it."""
    assert KernelTypes(description(UINT, SOCK, header_bytes=header_bytes)).offsets("sock", ["port"]) == {"port": 12}


@pytest.mark.parametrize("number", [3, 0xFFFF, 0x10000, 70_000])
def test_types_after_a_large_one_are_found(number: int) -> None:
    """Linux 7 has more than 65,535 variables in a section."""
    section = a_type("section", DATASEC, number, 0, bytes(12 * number))
    types = KernelTypes(description(UINT, section, SOCK, a_type("bind", FUNC, 0, 1)))
    assert types.offsets("sock", ["port"]) == {"port": 12}
    assert types.function("bind") == 4


@pytest.mark.parametrize("by_typedef", [False, True])
def test_member_of_a_struct_without_a_name_is_found(by_typedef: bool) -> None:
    """The struct is a member. A typedef can name it."""
    inner = struct.pack("=III", 0, STRUCT << 24 | 1, 8) + struct.pack("=III", named("port"), 1, 4 * 8)
    name = a_type("lock_t", TYPEDEF, 0, 2)
    outer = a_type("sock", STRUCT, 1, 16, struct.pack("=III", named("lock"), 3 if by_typedef else 2, 8 * 8))
    types = KernelTypes(description(UINT, inner, name, outer))
    assert types.inner_offsets("sock", "lock", ["port"]) == {"port": 4}


@pytest.mark.parametrize("kind", [LATER_KIND, 33, 127])
def test_unknown_kind_is_an_error(kind: int) -> None:
    """Its length is unknown, so everything behind it would be read at a wrong place."""
    with pytest.raises(OSError, match=f"unknown format .kind {kind}."):
        KernelTypes(description(UINT, a_type("section", kind, 0, 0), SOCK))
