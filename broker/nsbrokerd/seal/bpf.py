"""The system call bpf(2), by ctypes. Descriptors that it gives are the caller's, and close-on-exec."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

_libc = ctypes.PyDLL(None, use_errno=True)
_NUMBERS = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "loongarch64": 280, "ppc64le": 361, "s390x": 351}

# Source: include/uapi/linux/bpf.h.
_MAP_CREATE, _MAP_LOOKUP, MAP_UPDATE, _MAP_DELETE, _MAP_NEXT_KEY, _PROG_LOAD, _PIN, _GET, _ATTACH = range(9)
_INFO, _BTF_LOAD, _LINK_CREATE, _ITER_CREATE = 15, 18, 28, 33
_ALLOW_MULTI = 2

HASH, ARRAY, PROG_ARRAY, ARRAY_OF_MAPS, SK_STORAGE = 1, 2, 3, 12, 24
NO_PREALLOC, CLONE = 1, 1 << 9
NO_EXIST = 1

_LOG_BYTES = 1 << 20


class VerifierError(OSError):
    """The kernel refused a program; the end of the verifier's log is in the message."""


class MapKind(NamedTuple):
    """What a map is, but for its size."""

    type: int
    key_bytes: int
    value_bytes: int
    flags: int = 0


def _system_call() -> Callable[[int, int, int], int]:
    number = _NUMBERS.get(os.uname().machine)
    call = _libc.syscall
    call.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint]
    # An unknown machine: what no kernel has, so that each call says so.
    return partial(call, -1 if number is None else number)


SYSTEM_CALL = _system_call()
"""bpf(2): command, address and length of the attributes; gives -1 for an error."""


def _bpf(command: int, attributes: bytes, what: str) -> int:
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    result = SYSTEM_CALL(command, ctypes.addressof(buffer), len(attributes))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")
    return result


def _at(buffer: ctypes.Array[ctypes.c_char]) -> int:
    return ctypes.addressof(buffer)


def load_btf(data: bytes) -> int:
    """Give the kernel notes on types.

    Raises:
        OSError: it does not take them.
    """
    buffer = ctypes.create_string_buffer(data, len(data))
    return _bpf(_BTF_LOAD, struct.pack("=QQIII", _at(buffer), 0, len(data), 0, 0), "the types of the map are refused")


def create_map(name: str, kind: MapKind, entries: int, inner_fd: int = 0, btf: tuple[int, int, int] = (0, 0, 0)) -> int:
    """Make a map; `btf` is a descriptor of notes on types, and there the numbers of key and value.

    Raises:
        OSError: the kernel can't.
    """
    attributes = struct.pack("=6II16sIIIII", *kind[:3], entries, kind.flags, inner_fd, 0, name.encode(), 0, *btf, 0)
    return _bpf(_MAP_CREATE, attributes, f"no map {name}")


def kind_of(map_fd: int) -> MapKind:
    """Tell what a map is."""
    info = ctypes.create_string_buffer(88)
    _bpf(_INFO, struct.pack("=IIQ", map_fd, len(info), _at(info)), "a map tells nothing of itself")
    map_type, _, key_bytes, value_bytes, _, flags = struct.unpack_from("=6I", info)
    return MapKind(map_type, key_bytes, value_bytes, flags)


def update(map_fd: int, key: bytes, value: bytes, flags: int = 0) -> None:
    """Set an entry of a map.

    Raises:
        OSError: it is full, or `flags` forbid it.
    """
    held = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(value, len(value))
    _bpf(MAP_UPDATE, struct.pack("=IIQQQ", map_fd, 0, *map(_at, held), flags), "a map was not changed")


def lookup(map_fd: int, key: bytes, value_bytes: int) -> bytes | None:
    """Give the value of an entry; None if there is none."""
    held = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(value_bytes)
    try:
        _bpf(_MAP_LOOKUP, struct.pack("=IIQQQ", map_fd, 0, *map(_at, held), 0), "no such entry")
    except FileNotFoundError:
        return None
    return held[1].raw


def delete(map_fd: int, key: bytes) -> None:
    """Remove an entry, if it is there."""
    held = ctypes.create_string_buffer(key, len(key))
    with contextlib.suppress(FileNotFoundError):
        _bpf(_MAP_DELETE, struct.pack("=IIQQQ", map_fd, 0, _at(held), 0, 0), "an entry was not removed")


def keys(map_fd: int, key_bytes: int) -> list[bytes]:
    """List the keys of a hash; what is changed meanwhile may be missed."""
    found: list[bytes] = []
    following = ctypes.create_string_buffer(key_bytes)
    while True:
        held = ctypes.create_string_buffer(found[-1], key_bytes) if found else None
        before = _at(held) if held else 0
        try:
            _bpf(_MAP_NEXT_KEY, struct.pack("=IIQQQ", map_fd, 0, before, _at(following), 0), "no next key")
        except FileNotFoundError:
            return found
        found.append(following.raw)


def load_program(name: str, program_type: int, attach_type: int, code: bytes, attach_btf_id: int = 0) -> int:
    """Load a program.

    Raises:
        VerifierError: the kernel refused it.
    """
    held = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"Dual MIT/GPL")

    def attempt(log: ctypes.Array[ctypes.c_char] | None) -> int:
        attributes = struct.pack(
            "=IIQQIIQII16sIIIIQIIQIII",
            *(program_type, len(code) // 8, *map(_at, held)),
            *((1, len(log), _at(log)) if log else (0, 0, 0)),
            *(0, 0, name.encode(), 0, attach_type),
            *(0, 0, 0, 0, 0, 0, 0, attach_btf_id, 0),
        )
        return _bpf(_PROG_LOAD, attributes, f"the kernel refuses the program {name}")

    try:
        return attempt(None)
    except OSError:
        log = ctypes.create_string_buffer(_LOG_BYTES)
        try:
            return attempt(log)
        except OSError as error:
            end = " | ".join(log.value.decode(errors="replace").splitlines()[-6:])
            raise VerifierError(error.errno, f"{error.strerror}; the verifier says: {end or 'nothing'}") from error


def attach(cgroup_fd: int, program_fd: int, attach_type: int) -> None:
    """Have a program run for each socket of a control group, besides others; it outlives all descriptors."""
    attributes = struct.pack("=IIIII", cgroup_fd, program_fd, attach_type, _ALLOW_MULTI, 0)
    _bpf(_ATTACH, attributes, "a program can't be attached to the control group")


def pin(fd: int, path: str) -> None:
    """Give a map a name that keeps it."""
    held = ctypes.create_string_buffer(os.fsencode(path))
    _bpf(_PIN, struct.pack("=QII", _at(held), fd, 0), f"{path} can't be pinned")


def open_pin(path: str) -> int:
    """Open what has this name.

    Raises:
        FileNotFoundError: nothing has.
    """
    held = ctypes.create_string_buffer(os.fsencode(path))
    return _bpf(_GET, struct.pack("=QII", _at(held), 0, 0), path)


def open_iterator(program_fd: int, map_fd: int) -> int:
    """Open what a program says of each entry of a map, to be read as a file."""
    info = ctypes.create_string_buffer(struct.pack("=IIQ", map_fd, 0, 0), 16)
    attributes = struct.pack("=IIIIQI", program_fd, 0, 28, 0, _at(info), len(info))
    link_fd = _bpf(_LINK_CREATE, attributes, "the map can't be listed")
    try:
        return _bpf(_ITER_CREATE, struct.pack("=II", link_fd, 0), "the map can't be listed")
    finally:
        os.close(link_fd)
