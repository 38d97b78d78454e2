"""The resolv.conf and hosts of a container, in front of a program under `nsbroker-get NS run`."""

from __future__ import annotations

import ctypes
import os
import stat
from pathlib import Path

import pytest

from nsbroker.supervise.etc_files import use_files_of
from support.users import USER, as_user

_PR_SET_DUMPABLE = 4
TEXTS = {"/etc/resolv.conf": "nameserver 10.89.0.1\n", "/etc/hosts": "10.89.0.7 db \udcff\n"}


def _look(texts: dict[str, str]) -> tuple[list[str], dict[str, bytes], list[int], bool]:
    # As after an exec: a process that changed its user may not write to its own /proc/self.
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)
    before = os.listdir("/tmp")
    lines = use_files_of("podman:mine", texts)
    modes = [stat.S_IMODE(os.stat(path).st_mode) for path in texts if os.path.exists(path)]
    found = {path: Path(path).read_bytes() for path in texts if os.path.exists(path)}
    return lines, found, modes, set(before) <= set(os.listdir("/tmp"))


@pytest.mark.parametrize("uid", [USER, 0])
def test_texts_are_in_place_of_the_files(uid: int) -> None:
    """Every user can read them, and the directory in which they are made is as before."""
    old = os.umask(0o077)
    try:
        lines, found, modes, is_as_before = as_user(uid, uid, _look, TEXTS)
    finally:
        os.umask(old)
    assert lines == []
    assert found == {"/etc/resolv.conf": b"nameserver 10.89.0.1\n", "/etc/hosts": b"10.89.0.7 db \xff\n"}
    assert modes == [0o644, 0o644]
    assert is_as_before


def test_text_without_a_file_to_cover_is_named() -> None:
    lines, found, _, _ = as_user(USER, USER, _look, {"/etc/nowhere": "x", "/etc/hosts": "y"})
    assert lines == ["the container's file is not used: can't put it over /etc/nowhere: No such file or directory"]
    assert found == {"/etc/hosts": b"y"}


def test_files_of_the_system_stay_as_they_are() -> None:
    before = Path("/etc/hosts").read_bytes()
    as_user(0, 0, _look, TEXTS)
    assert Path("/etc/hosts").read_bytes() == before
