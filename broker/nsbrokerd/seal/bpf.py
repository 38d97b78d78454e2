"""The system call bpf(2), by ctypes. The caller owns each descriptor that is returned. All are close-on-exec."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import struct
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

_libc = ctypes.PyDLL(None, use_errno=True)
_NUMBERS = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "loongarch64": 280, "ppc64le": 361, "s390x": 351}

# Source: include/uapi/linux/bpf.h.
_MAP_CREATE, _MAP_LOOKUP, MAP_UPDATE, _MAP_DELETE, _MAP_NEXT_KEY, _PROG_LOAD, _PIN, _GET, _ATTACH = range(9)
_MAP_BY_NUMBER, _INFO, _RAW_TRACEPOINT_OPEN, _BTF_LOAD, _LINK_CREATE, _ITER_CREATE = 14, 15, 17, 18, 28, 33
_ALLOW_MULTI = 2

HASH, ARRAY, PROG_ARRAY, ARRAY_OF_MAPS, SK_STORAGE = 1, 2, 3, 12, 24
NO_PREALLOC, CLONE = 1, 1 << 9
NO_EXIST = 1

_LOG_BYTES = 1 << 20

_PASSING = {errno.ENOMEM, errno.EAGAIN, errno.EINTR, errno.EMFILE, errno.ENFILE, errno.EBUSY, errno.E2BIG}
"""EBUSY and E2BIG: other programs are at the hook, or too many. Source: kernel/bpf/trampoline.c."""

_Buffer = ctypes.Array[ctypes.c_char]


class MapShape(NamedTuple):
    """The type of a map and the sizes of its parts, without its number of entries."""

    type: int
    key_bytes: int
    value_bytes: int
    flags: int = 0


_libc.syscall.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint]
# On an unknown machine, use a number that no kernel has, so that each call fails.
_NUMBER = _NUMBERS.get(os.uname().machine, -1)
SYSTEM_CALL: Callable[[int, int, int], int] = partial(_libc.syscall, _NUMBER)
"""bpf(2): takes the command, and address and length of the attributes. Returns -1 for an error."""
_other_libc = ctypes.CDLL(None, use_errno=True)
_other_libc.syscall.argtypes = _libc.syscall.argtypes
_WAITING_CALL: Callable[[int, int, int], int] = partial(_other_libc.syscall, _NUMBER)
"""The same for calls that can wait: other threads go on meanwhile."""


def _bpf(command: int, failure: str, layout: str, *values: int | bytes | _Buffer) -> int:
    """Call bpf(2) with these attributes. A buffer among the values is passed by its address."""
    packed = (ctypes.addressof(one) if isinstance(one, ctypes.Array) else one for one in values)
    attributes = _buffer(struct.pack(layout, *packed))
    call = _WAITING_CALL if command == _RAW_TRACEPOINT_OPEN else SYSTEM_CALL
    result = call(command, ctypes.addressof(attributes), len(attributes))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{failure}: {os.strerror(error)}")
    return result


def _buffer(data: bytes) -> _Buffer:
    return ctypes.create_string_buffer(data, len(data))


@contextlib.contextmanager
def closing(fd: int) -> Iterator[int]:
    """Close a descriptor at the end of a with block."""
    try:
        yield fd
    finally:
        os.close(fd)


def is_passing(error: OSError) -> bool:
    """Return whether the same call can succeed later, on the same kernel."""
    return error.errno in _PASSING


def load_btf(data: bytes) -> int:
    """Load a description of types.

    Raises:
        OSError: the kernel refuses it.
    """
    attributes = _buffer(data), 0, len(data), 0, 0
    return _bpf(_BTF_LOAD, "the kernel refuses the types of the map", "=QQIII", *attributes)


def create_map(
    name: str, shape: MapShape, entries: int, inner_fd: int = 0, types: tuple[int, int, int] = (0, 0, 0)
) -> int:
    """Create a map.

    Args:
        name: at most 15 characters.
        shape: its type and sizes.
        entries: the number of entries that it has room for.
        inner_fd: for a map of maps, the descriptor of an example.
        types: a descriptor of `load_btf`, and the numbers of the types of key and value in it.

    Raises:
        OSError: the kernel can't create it.
    """
    head = shape.type, shape.key_bytes, shape.value_bytes, entries, shape.flags, inner_fd, 0
    return _bpf(_MAP_CREATE, f"can't create the map {name}", "=6II16sIIIII", *head, name.encode(), 0, *types, 0)


def shape_of(map_fd: int) -> MapShape:
    """Return the shape of a map."""
    info = ctypes.create_string_buffer(88)
    _bpf(_INFO, "can't read the type of a map", "=IIQ", map_fd, len(info), info)
    map_type, _, key_bytes, value_bytes, _, flags = struct.unpack_from("=6I", info)
    return MapShape(map_type, key_bytes, value_bytes, flags)


def update(map_fd: int, key: bytes, value: bytes, flags: int = 0) -> None:
    """Write an entry of a map.

    Raises:
        OSError: the map is full, or `flags` forbid it.
    """
    _bpf(MAP_UPDATE, "can't write to a map", "=IIQQQ", map_fd, 0, _buffer(key), _buffer(value), flags)


def fill_slot(map_fd: int, fd: int) -> None:
    """Put a map or a program into the only slot of a map.

    Raises:
        OSError: the kernel refuses it.
    """
    update(map_fd, bytes(4), struct.pack("=I", fd))


def empty_slot(map_fd: int) -> None:
    """Take the map out of the only slot of a map of maps, if there is one.

    Raises:
        OSError: the kernel refuses it.
    """
    delete(map_fd, bytes(4))


def open_slot(map_fd: int) -> int:
    """Open the map in the only slot of a map of maps.

    Raises:
        FileNotFoundError: the slot is empty, or gets another map at this moment.
    """
    number = lookup(map_fd, bytes(4), 4)
    if number is None:
        raise FileNotFoundError(errno.ENOENT, "the slot of the map is empty")
    return _bpf(_MAP_BY_NUMBER, "can't open the map in the slot", "=4sII", number, 0, 0)


def lookup(map_fd: int, key: bytes, value_bytes: int) -> bytes | None:
    """Return the value of an entry, or None if the map has no such entry."""
    value = ctypes.create_string_buffer(value_bytes)
    try:
        _bpf(_MAP_LOOKUP, "can't read a map", "=IIQQQ", map_fd, 0, _buffer(key), value, 0)
    except FileNotFoundError:
        return None
    return value.raw


def delete(map_fd: int, key: bytes) -> None:
    """Remove an entry of a map if it is there."""
    with contextlib.suppress(FileNotFoundError):
        _bpf(_MAP_DELETE, "can't remove an entry of a map", "=IIQQQ", map_fd, 0, _buffer(key), 0, 0)


def keys(map_fd: int, key_bytes: int) -> list[bytes]:
    """List the keys of a hash. It can miss keys that change meanwhile."""
    found: list[bytes] = []
    following = ctypes.create_string_buffer(key_bytes)
    while True:
        last = _buffer(found[-1]) if found else 0
        try:
            _bpf(_MAP_NEXT_KEY, "can't list the keys of a map", "=IIQQQ", map_fd, 0, last, following, 0)
        except FileNotFoundError:
            return found
        found.append(following.raw)


def load_program(name: str, program_type: int, attach_type: int, code: bytes, attach_btf_id: int = 0) -> int:
    """Load a program.

    Raises:
        OSError: the kernel refused it. The message has the end of the verifier's log.
    """

    def attempt(log: _Buffer | None) -> int:
        return _bpf(
            *(_PROG_LOAD, f"the kernel refuses the program {name}", "=IIQQIIQII16sIIIIQIIQIII"),
            *(program_type, len(code) // 8, _buffer(code), _buffer(b"Dual MIT/GPL\0")),
            *((1, len(log), log) if log else (0, 0, 0)),
            *(0, 0, name.encode(), 0, attach_type),
            *(0, 0, 0, 0, 0, 0, 0, attach_btf_id, 0),
        )

    try:
        return attempt(None)
    except OSError:
        log = ctypes.create_string_buffer(_LOG_BYTES)
        try:
            return attempt(log)
        except OSError as error:
            end = " | ".join(log.value.decode(errors="replace").splitlines()[-6:])
            if not end:
                raise  # it did not get as far as the verifier
            raise OSError(error.errno, f"{error.strerror}; the verifier's log ends with: {end}") from error


def attach(cgroup_fd: int, program_fd: int, attach_type: int) -> None:
    """Run a program for each socket of a control group, beside other programs. It stays when all descriptors close.

    Raises:
        OSError: the kernel refuses it.
    """
    attributes = cgroup_fd, program_fd, attach_type, _ALLOW_MULTI, 0
    _bpf(_ATTACH, "can't attach a program to the control group", "=IIIII", *attributes)


def attach_hook(program_fd: int, name: str) -> int:
    """Run a program at its hook of the kernel, for each process of the host, and return the link. It needs a pin.

    The kernel can wait here for other processes, without a limit: see `wall`.

    Raises:
        OSError: the kernel refuses it.
    """
    return _bpf(_RAW_TRACEPOINT_OPEN, f"can't attach a program to the hook {name}", "=QI4x", 0, program_fd)


def pin(fd: int, path: str) -> None:
    """Pin a map or a link to a path, so that it stays when all descriptors close.

    Raises:
        OSError: the path is not on a BPF file system, or it exists.
    """
    _bpf(_PIN, f"can't pin to {path}", "=QII", _buffer(os.fsencode(path) + b"\0"), fd, 0)


def open_pin(path: str) -> int:
    """Open the map that is pinned to a path.

    Raises:
        FileNotFoundError: there is no such pin.
    """
    return _bpf(_GET, path, "=QII", _buffer(os.fsencode(path) + b"\0"), 0, 0)


def open_iterator(program_fd: int, map_fd: int) -> int:
    """Run a program for each entry of a map. Read its output from the returned descriptor, as from a file.

    Raises:
        OSError: the kernel refuses it.
    """
    info = _buffer(struct.pack("=IIQ", map_fd, 0, 0))
    failure = "can't list the sockets of the map"
    with closing(_bpf(_LINK_CREATE, failure, "=IIIIQI", program_fd, 0, 28, 0, info, len(info))) as link_fd:
        return _bpf(_ITER_CREATE, failure, "=II", link_fd, 0)
