"""The seal's maps. They are pinned in a directory, so that they outlive the broker and the next one takes them over."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ..namespaces.later_names import has_hosts_mounts
from . import bpf, layout
from .btf import KEY_TYPE, VALUE_TYPE, describe_entry
from .programs import PROGRAMS

_BPF_DIRECTORY = Path("/sys/fs/bpf")

MAX_GRANTS = 16384
"""Room for names of grants. Names of former grants stay as long as there is room, or as one of their sockets lives."""

_BPF_FS_MAGIC = 0xCAFE4A11
"""Source: include/uapi/linux/magic.h."""
_STATFS_BYTES = 256
"""More than a struct statfs has. Its first field is the type, as a long of the machine."""

_NOSUID_NODEV_NOEXEC = 0x2 | 0x4 | 0x8

RULES = bpf.MapShape(bpf.HASH, layout.GRANT_ID_BYTES, layout.LIMIT_BYTES)
_SOCKETS = bpf.MapShape(bpf.SK_STORAGE, 4, layout.ENTRY.size, bpf.NO_PREALLOC | bpf.CLONE)
_LIMITS = bpf.MapShape(bpf.ARRAY_OF_MAPS, 4, 4)
_SHAPES = {
    "sockets": _SOCKETS,
    "limits": _LIMITS,
    "names": bpf.MapShape(bpf.HASH, layout.GRANT_ID_BYTES, layout.NAME_BYTES, bpf.NO_PREALLOC),
    **dict.fromkeys((program.name for program in PROGRAMS), bpf.MapShape(bpf.PROG_ARRAY, 4, 4)),
}

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class SealMaps:
    """Descriptors of all maps: entries of sockets, limits of grants, names of grants, and a slot for each program."""

    sockets: int
    limits: int
    names: int
    programs: dict[str, int]

    def close(self) -> None:
        """Close the descriptors. The pins stay."""
        for fd in (self.sockets, self.limits, self.names, *self.programs.values()):
            os.close(fd)


def make_maps() -> SealMaps:
    """Make new maps, without pins.

    Raises:
        OSError: this kernel can't.
    """
    return _gather(_make)


def open_maps(directory: Path) -> SealMaps:
    """Open the maps that are pinned in a directory.

    Raises:
        FileNotFoundError: some of them are missing.
        OSError: they can't be opened, or another version made them.
    """
    return _gather(lambda name: _open(name, directory))


def open_or_make_maps(directory: Path) -> SealMaps:
    """Open the maps that are pinned in a directory. Make and pin the missing ones.

    Raises:
        OSError: see `open_maps`.
    """

    def open_or_make(name: str) -> int:
        try:
            return _open(name, directory)
        except FileNotFoundError:
            fd = _make(name)
            with _closing_on_error(fd):
                bpf.pin(fd, f"{directory}/{name}")
            return fd

    return _gather(open_or_make)


def why_no_place(directory: Path) -> str | None:
    """Return why a broker can't keep its limits in a directory, or None if it can. Nothing is made.

    `take_directory` refuses the same, and a directory that another broker uses.
    """
    if _BPF_DIRECTORY in directory.parents and not os.path.ismount(_BPF_DIRECTORY):
        return None  # `take_directory` mounts it
    if not directory.parent.is_dir():
        return f"{directory.parent} does not exist: name a directory below {_BPF_DIRECTORY}"
    if directory.exists():
        if not directory.is_dir():
            return f"{directory} is no directory: remove it, or name another place"
        status = directory.stat()
        if status.st_uid != 0 or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return f"{directory}: others than root can write it: chown root, chmod go-w"
    if not _is_on_bpf(directory if directory.exists() else directory.parent):
        return f"{directory} is on no BPF file system: name a directory below {_BPF_DIRECTORY}"
    return None


def why_short_lived(directory: Path) -> str | None:
    """Return why limits in a directory would not outlive this broker's container, or None if they would.

    Ask before `take_directory`, which mounts the BPF file system where none is mounted.
    """
    if _BPF_DIRECTORY not in directory.parents or os.path.ismount(_BPF_DIRECTORY) or has_hosts_mounts():
        return None
    return (
        f"they end with this container, and then cut off its sockets, because {_BPF_DIRECTORY} is its own: "
        f"give it -v {_BPF_DIRECTORY}:{_BPF_DIRECTORY}"
    )


def _is_on_bpf(path: Path) -> bool:
    status = ctypes.create_string_buffer(_STATFS_BYTES)
    if _libc.statfs(os.fsencode(path), status) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path))
    return int.from_bytes(status.raw[:4], sys.byteorder) == _BPF_FS_MAGIC


def take_directory(directory: Path) -> int:
    """Make the directory of the pins, for root only, and return a descriptor. The directory is locked while it is open.

    Without the lock, two brokers would overwrite each other's limits.

    Raises:
        OSError: it is not on a BPF file system, it can't be made, other users than root can write it, or another broker
            uses it.
    """
    if _BPF_DIRECTORY in directory.parents:
        _mount_bpf()
    if reason := why_no_place(directory):
        raise OSError(reason)
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        # For example, AppArmor's profile for containers.
        failure = f"can't make {directory}: {error.strerror}: see whether a security module confines the broker"
        raise OSError(error.errno, failure) from error
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    with _closing_on_error(fd):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            failure = f"another broker keeps its limits in {directory}: give each broker its own broker.seal"
            raise OSError(error.errno, failure) from error
    return fd


def _mount_bpf() -> None:
    """Mount the BPF file system at its usual place, unless it is mounted already.

    Raises:
        OSError: it can't be mounted.
    """
    if os.path.ismount(_BPF_DIRECTORY):
        return
    path = os.fsencode(_BPF_DIRECTORY)
    if _libc.mount(b"bpf", path, b"bpf", _NOSUID_NODEV_NOEXEC, b"mode=0700") != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"can't mount the BPF file system at {_BPF_DIRECTORY}: {os.strerror(number)}")


def _make(name: str) -> int:
    if name == "sockets":
        with bpf.closing(bpf.load_btf(describe_entry("sealed_socket", layout.ENTRY_MEMBERS))) as btf_fd:
            return bpf.create_map("nsb_sockets", _SOCKETS, 0, types=(btf_fd, KEY_TYPE, VALUE_TYPE))
    if name == "limits":
        with bpf.closing(bpf.create_map("nsb_rules", RULES, 1)) as inner_fd:
            return bpf.create_map("nsb_limits", _LIMITS, 1, inner_fd)
    return bpf.create_map(f"nsb_{name}"[:15], _SHAPES[name], MAX_GRANTS if name == "names" else 1)


def _open(name: str, directory: Path) -> int:
    fd = bpf.open_pin(f"{directory}/{name}")
    with _closing_on_error(fd):
        if (found := bpf.shape_of(fd)) != _SHAPES[name]:
            raise OSError(f"another version of nsbrokerd made {directory}/{name} ({found}): remove {directory}")
    return fd


def _gather(get: Callable[[str], int]) -> SealMaps:
    """Get a descriptor for each map by its name. If one fails, close the others."""
    with ExitStack() as stack:
        fds = {}
        for name in _SHAPES:
            fds[name] = get(name)
            stack.callback(os.close, fds[name])
        stack.pop_all()
    return SealMaps(fds.pop("sockets"), fds.pop("limits"), fds.pop("names"), fds)


@contextlib.contextmanager
def _closing_on_error(fd: int) -> Iterator[None]:
    try:
        yield
    except BaseException:
        os.close(fd)
        raise
