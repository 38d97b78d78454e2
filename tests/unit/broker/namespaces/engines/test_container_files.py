"""Files of a container are read only if they are small regular files: a container chooses what is at their paths."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nsbrokerd.namespaces.engines.container_files import MAX_FILE_BYTES, read_container_file


@pytest.mark.parametrize("content", [b"", b"nameserver 10.89.0.1\n", b"#" * MAX_FILE_BYTES], ids=len)
def test_small_file_is_read(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_bytes(content)
    assert read_container_file(str(tmp_path / "resolv.conf")) == content.decode()


def test_bytes_that_are_no_text_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_bytes(b"\xff\0 web\n")
    assert read_container_file(str(tmp_path / "hosts")) == "\ufffd\0 web\n"


def test_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    """It could point at a file that only root may read."""
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "resolv.conf").symlink_to(tmp_path / "secret")
    assert read_container_file(str(tmp_path / "resolv.conf")) is None


@pytest.mark.parametrize("writer", [False, True])
def test_fifo_is_neither_read_nor_waited_for(writer: bool, tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    os.mkfifo(path)
    fd = os.open(path, os.O_RDWR) if writer else None
    try:
        if fd is not None:
            os.write(fd, b"nameserver 10.0.0.1\n")
        assert read_container_file(str(path)) is None
    finally:
        if fd is not None:
            os.close(fd)


@pytest.mark.parametrize("size", [MAX_FILE_BYTES + 1, 20 * 2**20])
def test_large_file_is_not_read(size: int, tmp_path: Path) -> None:
    with open(tmp_path / "resolv.conf", "wb") as file:
        file.truncate(size)
    assert read_container_file(str(tmp_path / "resolv.conf")) is None


@pytest.mark.parametrize("path", ["/", "/dev/zero", "/nowhere/resolv.conf", "/" + "x" * 300, "/x\0y", "/\ud800"])
def test_other_path_is_not_read(path: str) -> None:
    assert read_container_file(path) is None
