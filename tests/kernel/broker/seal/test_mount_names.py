"""Mounts whose names users choose do not confuse the broker: see fusermount(1)."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nsbrokerd.seal.own_group import is_writable_by_owner, own_cgroup
from support.namespaces import why_not
from support.users import as_user

_CLONE_NEWNS = 0x00020000
_MS_PRIVATE_REC = 0x44000
_MNT_DETACH = 2

FORGED = "x - tmpfs none rw\n1 2 0:3 / {directory} rw - cgroup2 cgroup2 rw\n4 5 0:6 / /x rw"
"""Lines for /proc/self/mountinfo, from within one of its lines. The kernel escapes these spaces and newlines."""

NAMES: dict[str, Callable[[Path], bytes]] = {
    "ends a line": lambda _: "a\u2028b".encode(),
    "ends a line by a carriage return": lambda _: b"a\rb",
    "has another space": lambda _: "a\u00a0b\u2003c\x0bd".encode(),
    "is not UTF-8": lambda _: b"a\xffb",
    "has spaces and newlines": lambda _: b"a b\n1 2 0:3 / /tmp rw - cgroup2 cgroup2 rw\nc",
    "claims to be of cgroup2": lambda _: b"x rw shared - cgroup2 none rw".replace(b" ", b"\x0b"),
    "claims to be several lines": lambda directory: (
        FORGED.format(directory=directory).replace(" ", "\u2003").replace("\n", "\u2028").encode()
    ),
}


@pytest.mark.parametrize("make", NAMES.values(), ids=NAMES)
def test_mount_of_any_name_changes_nothing(tmp_path: Path, make: Callable[[Path], bytes]) -> None:
    """The broker finds its own control group, which it needs at its start, even without limits."""
    if reason := why_not():
        pytest.skip(reason)
    try:
        expected = own_cgroup()
    except OSError as error:
        pytest.skip(str(error))
    point = os.path.join(os.fsencode(tmp_path), make(tmp_path))
    os.makedirs(point)
    assert as_user(0, 0, _find_beside_mount, point) == (expected, is_writable_by_owner())


def _find_beside_mount(point: bytes) -> tuple[Path, bool]:
    """Mount a file system, and then the control groups anew, so that the first one comes first in the list."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(_CLONE_NEWNS) == 0
    assert libc.mount(b"none", b"/", None, ctypes.c_ulong(_MS_PRIVATE_REC), None) == 0
    groups = _mount_of(own_cgroup())
    assert libc.umount2(groups, _MNT_DETACH) == 0
    for place, kind in ((point, b"tmpfs"), (groups, b"cgroup2")):
        assert libc.mount(b"none", place, kind, ctypes.c_ulong(0), None) == 0, os.strerror(ctypes.get_errno())
    return own_cgroup(), is_writable_by_owner()


def _mount_of(path: Path) -> bytes:
    while not path.is_mount():
        path = path.parent
    return os.fsencode(path)
