"""The seal's maps, kept by pins in a directory: they outlive the broker, and its successor takes them over."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from . import bpf, layout
from .btf import KEY_TYPE, VALUE_TYPE, describe_entry
from .fragments import Maps
from .programs import PROGRAMS

BPF_DIRECTORY = Path("/sys/fs/bpf")
DEFAULT_DIRECTORY = BPF_DIRECTORY / "nsbrokerd"

MAX_GRANTS = 16384
"""Names of grants that are known, those of former policies too as long as there is room, or a socket of theirs."""

_NOSUID_NODEV_NOEXEC = 0x2 | 0x4 | 0x8

SOCKETS = bpf.MapKind(bpf.SK_STORAGE, 4, layout.ENTRY.size, bpf.NO_PREALLOC | bpf.CLONE)
RULES = bpf.MapKind(bpf.HASH, layout.GRANT_ID_BYTES, layout.LIMIT_BYTES)
LIMITS = bpf.MapKind(bpf.ARRAY_OF_MAPS, 4, 4)
NAMES = bpf.MapKind(bpf.HASH, layout.GRANT_ID_BYTES, layout.NAME_BYTES, bpf.NO_PREALLOC)
_PROGRAM = bpf.MapKind(bpf.PROG_ARRAY, 4, 4)

_ENTRY_MEMBERS = (("grant", 8), ("netns", 8), ("cookie", 8), ("since_ns", 8), ("uid", 4), ("flags", 4))

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class SealMaps:
    """Descriptors of all maps: entries of sockets, limits of grants, names of grants, and a slot for each program."""

    sockets: int
    limits: int
    names: int
    programs: dict[str, int]

    @property
    def of_programs(self) -> Maps:
        """Those that the programs use."""
        return Maps(self.sockets, self.limits)

    def close(self) -> None:
        """Close the descriptors; the pins stay."""
        for fd in (self.sockets, self.limits, self.names, *self.programs.values()):
            os.close(fd)


def make_maps() -> SealMaps:
    """Make new maps, without pins.

    Raises:
        OSError: this kernel can't.
    """
    return _gather(_make)


def open_maps(directory: Path) -> SealMaps:
    """Open the maps that have their pins there.

    Raises:
        FileNotFoundError: not all of them are there.
        OSError: they can't be opened, or are of another version.
    """
    return _gather(lambda name: _open(name, directory))


def take_directory(directory: Path) -> int:
    """Make the directory of the pins, root's alone, and lock it as long as the descriptor that this gives is open.

    Raises:
        OSError: it is on no BPF file system, others can write it, or another broker uses it: each would put its own
            limits on the other's sockets.
    """
    if BPF_DIRECTORY in directory.parents:
        mount_bpf()
    directory.mkdir(mode=0o700, exist_ok=True)
    status = directory.stat()
    if status.st_uid != 0 or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise OSError(f"{directory}: others than root can write it")
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    with _closing_on_error(fd):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OSError(error.errno, f"another broker keeps its limits in {directory}: give each its own") from error
    return fd


def open_or_make_maps(directory: Path) -> SealMaps:
    """Open the maps that have their pins there, and make those that are missing.

    Raises:
        OSError: as `open_maps`.
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


def mount_bpf() -> None:
    """Mount the BPF file system where everybody expects it, if nobody has.

    Raises:
        OSError: it can't be mounted.
    """
    if os.path.ismount(BPF_DIRECTORY):
        return
    path = os.fsencode(BPF_DIRECTORY)
    if _libc.mount(b"bpf", path, b"bpf", _NOSUID_NODEV_NOEXEC, b"mode=0700") != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"the BPF file system can't be mounted at {BPF_DIRECTORY}: {os.strerror(number)}")


_KINDS = {"sockets": SOCKETS, "limits": LIMITS, "names": NAMES}


def _kind(name: str) -> bpf.MapKind:
    return _KINDS.get(name, _PROGRAM)


def _make(name: str) -> int:
    if name == "sockets":
        btf_fd = bpf.load_btf(describe_entry("sealed_socket", _ENTRY_MEMBERS))
        with _closing(btf_fd):
            return bpf.create_map("nsb_sockets", SOCKETS, 0, btf=(btf_fd, KEY_TYPE, VALUE_TYPE))
    if name == "limits":
        with _closing(bpf.create_map("nsb_rules", RULES, 1)) as inner_fd:
            return bpf.create_map("nsb_limits", LIMITS, 1, inner_fd)
    return bpf.create_map(f"nsb_{name}"[:15], _kind(name), MAX_GRANTS if name == "names" else 1)


def _open(name: str, directory: Path) -> int:
    fd = bpf.open_pin(f"{directory}/{name}")
    with _closing_on_error(fd):
        if (found := bpf.kind_of(fd)) != _kind(name):
            raise OSError(f"{directory}/{name} is of another version ({found}): remove {directory}")
    return fd


def _gather(get: Callable[[str], int]) -> SealMaps:
    """Get all maps by their names, or none."""
    with ExitStack() as stack:
        fds = {}
        for name in (*_KINDS, *(program.name for program in PROGRAMS)):
            fds[name] = get(name)
            stack.callback(os.close, fds[name])
        stack.pop_all()
    return SealMaps(fds.pop("sockets"), fds.pop("limits"), fds.pop("names"), fds)


@contextlib.contextmanager
def _closing(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def _closing_on_error(fd: int) -> Iterator[None]:
    try:
        yield
    except BaseException:
        os.close(fd)
        raise
