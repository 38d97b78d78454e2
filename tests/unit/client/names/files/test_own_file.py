"""Files that variables of the environment name are read, whatever they are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nsbroker.names.files.own_file import read_own_file


def test_text_of_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a\xff\n")
    (tmp_path / "link").symlink_to(path)
    assert read_own_file(str(path)) == read_own_file(str(tmp_path / "link")) == "a\N{REPLACEMENT CHARACTER}\n"


@pytest.mark.parametrize("name", ["", "nowhere", "a\0b", "pipe", ".", "\udcff", "/dev/zero"])
def test_other_paths_have_no_text(tmp_path: Path, name: str) -> None:
    """A pipe does not block the program, and an endless file does not fill its memory."""
    os.mkfifo(tmp_path / "pipe")
    assert read_own_file(name and os.path.join(tmp_path, name)) == ""


def test_huge_file_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "huge"
    path.touch()
    os.truncate(path, 1 << 32)
    assert len(read_own_file(str(path))) == 2**20
