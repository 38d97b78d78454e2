"""Runs programs of the seal without a kernel: an interpreter for their instructions, over sockets that a test invents.

So tests can check the decisions of programs that this machine's kernel does not load. It knows only the instructions
of `nsbrokerd.seal.programs.assembly`, and fails for others.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Mapping, Sequence

from nsbrokerd.policy import Limit
from nsbrokerd.seal import layout
from nsbrokerd.seal.programs.calls import HOOKS

SOCKETS_FD, LIMITS_FD = 3, 4
_LIMITS_OF_GRANTS = 5
_MAP = 1 << 60
_STACK_BYTES = 512
_MASK = (1 << 64) - 1
_REPLACE = 0xF1
_SIZES = {0x10: 1, 0x08: 2, 0x00: 4, 0x18: 8}
_FORMATS = {1: "=B", 2: "=H", 4: "=I", 8: "=Q"}

_JUMPS: dict[int, Callable[[int, int], bool]] = {
    0x10: lambda one, other: one == other,
    0x50: lambda one, other: one != other,
    0x20: lambda one, other: one > other,
    0x30: lambda one, other: one >= other,
    0xA0: lambda one, other: one < other,
    0xB0: lambda one, other: one <= other,
}
_ALU: dict[int, Callable[[int, int], int]] = {
    0x00: lambda one, other: one + other,
    0x50: lambda one, other: one & other,
    0x40: lambda one, other: one | other,
    0xB0: lambda _one, other: other,
}


class Machine:
    """Memory, the entries of sockets, and the limits of grants."""

    def __init__(self, fields: Mapping[str, int]) -> None:
        """Take the offsets of fields that the programs will use."""
        self.fields = fields
        self.entries: dict[int, int] = {}
        """The address of each socket's entry."""
        self.limits: dict[int, Limit | None] = {}
        self.has_memory = True
        self.signals: list[int] = []
        self.written = b""
        """What programs have written to the reader of an iterator."""
        self.unreadable: set[int] = set()
        """Addresses that can't be read, for the helper that tries."""
        self.task = self.registers = self.socket_of_file = 0
        self.cookies: dict[int, int] = {}
        self.after_load: Callable[[int], None] = lambda _address: None
        """Runs after each load from memory, as another processor could."""
        self._regions: list[tuple[int, bytearray]] = []

    def place(self, data: bytes) -> int:
        """Put bytes into memory, and return their address."""
        base = (len(self._regions) + 1) << 20
        self._regions.append((base, bytearray(data)))
        return base

    def struct(self, size: int = 2048, **values: tuple[int, int]) -> int:
        """Place a struct. Each value is a number and its size; its name is that of a field, with `__` for a point."""
        data = bytearray(size)
        for name, (number, bytes_) in values.items():
            struct.pack_into(_FORMATS[bytes_], data, self.fields[name.replace("__", ".")], number)
        return self.place(bytes(data))

    def write(self, address: int, data: bytes) -> None:
        """Overwrite memory."""
        region, start = self._at(address, len(data))
        region[start : start + len(data)] = data

    def read(self, address: int, length: int) -> bytes:
        """Return bytes of memory."""
        region, start = self._at(address, length)
        return bytes(region[start : start + length])

    def _at(self, address: int, length: int) -> tuple[bytearray, int]:
        for base, region in self._regions:
            if base <= address and address + length <= base + len(region):
                return region, address - base
        raise AssertionError(f"the program uses {length} bytes at {address:#x}, which is not its memory")

    def give_entry(self, sock: int, grant: str, flags: int = 0, cookie: int = 0) -> int:
        """Seal a socket. Return the address of its entry."""
        self.entries[sock] = self.place(layout.ENTRY.pack(layout.grant_id(grant), 0, cookie, 0, 0, flags))
        return self.entries[sock]

    def flags(self, sock: int) -> int:
        """Return the flags of a socket's entry."""
        return int(struct.unpack("=I", self.read(self.entries[sock] + layout.ENTRY_FLAGS, 4))[0])

    def ask(self, hook: str, *arguments: int) -> int:
        """Run a program of the second wall. Return its answer: 0, or a negative errno."""
        return self.run(HOOKS[hook].assemble(SOCKETS_FD, LIMITS_FD, self.fields), arguments)

    def run(self, program: bytes, arguments: Sequence[int]) -> int:
        """Run a program with this context, and return its result as a signed number."""
        lines = list(struct.iter_unpack("=BBhi", program))
        registers = [0] * 11
        registers[1] = self.place(struct.pack(f"={len(arguments)}Q", *(number & _MASK for number in arguments)))
        registers[10] = self.place(bytes(_STACK_BYTES)) + _STACK_BYTES
        place = 0
        for _ in range(100_000):
            code, both, offset, number = lines[place]
            to, source = both & 15, both >> 4
            place += 1
            kind, other = code & 7, registers[source] if code & 8 else number & _MASK
            if code == 0x95:
                return int(struct.unpack("=q", struct.pack("=Q", registers[0]))[0])
            if code == 0x85:
                registers[0] = self._call(number, registers)
                registers[1:6] = [0xDEAD_0000 + index for index in range(5)]
            elif code == 0x18:
                low, high = number & 0xFFFFFFFF, lines[place][3] & 0xFFFFFFFF
                registers[to] = _MAP + number if source == 1 else high << 32 | low
                place += 1
            elif code == 0xDC:
                registers[to] = int.from_bytes((registers[to] & 0xFFFF).to_bytes(2, "little"), "big")
            elif code == 0xC3:
                old = struct.unpack("=I", self.read(registers[to] + offset, 4))[0]
                if number == _REPLACE:
                    new = registers[source] & 0xFFFFFFFF if old == registers[0] & 0xFFFFFFFF else old
                    registers[0] = old
                else:
                    new = _ALU[number](old, registers[source]) & 0xFFFFFFFF
                self.write(registers[to] + offset, struct.pack("=I", new))
            elif kind == 1:
                size = _SIZES[code & 0x18]
                place_in_memory = registers[source] + offset
                registers[to] = struct.unpack(_FORMATS[size], self.read(place_in_memory, size))[0]
                self.after_load(place_in_memory)
            elif kind in (2, 3):
                size = _SIZES[code & 0x18]
                value = (registers[source] if kind == 3 else number) & ((1 << 8 * size) - 1)
                self.write(registers[to] + offset, struct.pack(_FORMATS[size], value))
            elif kind == 7:
                registers[to] = _ALU[code & 0xF0](registers[to], other) & _MASK
            elif code == 0x05:
                place += offset
            else:
                assert kind == 5, f"unknown instruction {code:#x}"
                if _JUMPS[code & 0xF0](registers[to], other):
                    place += offset
        raise AssertionError("the program does not end")

    def _call(self, helper: int, registers: list[int]) -> int:
        first, second, third, fourth = registers[1:5]
        match helper:
            case 1:
                return self._look_up(first, second)
            case 46:
                return self.cookies[first]
            case 95:
                return first
            case 107:
                assert first == _MAP + SOCKETS_FD
                if fourth == 1 and second not in self.entries and self.has_memory:
                    self.entries[second] = self.place(self.read(third, layout.ENTRY.size))
                return self.entries.get(second, 0)
            case 109:
                self.signals.append(first)
                return 0
            case 113 if third in self.unreadable:
                return -errno.EFAULT & _MASK
            case 113:
                # The kernel's address of a client has room for every family.
                self.write(first, self.read(third, second))
                return 0
            case 127:
                self.written += self.read(second, third)
                return 0
            case 158:
                return self.task
            case 162:
                return self.socket_of_file
            case 175:
                return self.registers
        raise AssertionError(f"unknown helper {helper}")

    def _look_up(self, map_: int, key: int) -> int:
        if map_ == _MAP + LIMITS_FD:
            assert self.read(key, 4) == bytes(4)
            return _MAP + _LIMITS_OF_GRANTS
        assert map_ == _MAP + _LIMITS_OF_GRANTS
        number = layout.decode_grant_id(self.read(key, 8))
        if number not in self.limits:
            return 0
        return self.place(layout.encode_limit(self.limits[number]))
