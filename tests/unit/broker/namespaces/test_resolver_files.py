"""Which files say how names are looked up in a namespace."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nsbroker.wire import ResolverFiles
from nsbrokerd.namespaces.resolver_files import MAX_FILE_BYTES, read_resolver_files


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_files_of_the_namespace_come_before_those_of_the_system(tmp_path: Path) -> None:
    """Each file by itself, as ip-netns(8) mounts them."""
    write(tmp_path / "resolv.conf", "system")
    write(tmp_path / "hosts", "system's hosts")
    write(tmp_path / "netns/blue/resolv.conf", "blue")
    expected = ResolverFiles("blue", "system's hosts", str(tmp_path / "netns/blue/resolv.conf"))
    assert read_resolver_files(["blue"], str(tmp_path)) == expected
    assert read_resolver_files(["red"], str(tmp_path)).resolv_conf == "system"
    assert read_resolver_files(["red", "blue"], str(tmp_path)) == expected


def test_further_files_that_exist_come_along(tmp_path: Path) -> None:
    """The lists of numbers come only from the namespace's own files: the client has the system's."""
    for name in ("gai.conf", "nsswitch.conf", "services", "protocols"):
        write(tmp_path / name, "system")
    for name in ("gai.conf", "services", "shadow"):
        write(tmp_path / "netns/blue" / name, "blue")
    files = {"gai.conf": "blue", "nsswitch.conf": "system", "services": "blue"}
    assert read_resolver_files(["blue"], str(tmp_path)).files == files
    assert read_resolver_files([], str(tmp_path)).files == {"gai.conf": "system", "nsswitch.conf": "system"}


def test_host_has_the_files_of_the_system_whatever_is_called_alike(tmp_path: Path) -> None:
    write(tmp_path / "resolv.conf", "system")
    write(tmp_path / "netns/@host/resolv.conf", "trap")
    assert read_resolver_files(["@host"], str(tmp_path)).resolv_conf == "system"


def test_missing_files_are_empty(tmp_path: Path) -> None:
    assert read_resolver_files(["blue"], str(tmp_path)) == ResolverFiles("", "", str(tmp_path / "resolv.conf"))


def test_bytes_that_are_no_text_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_bytes(b"127.0.0.1 caf\xe9\n")
    assert read_resolver_files([], str(tmp_path)).hosts == "127.0.0.1 caf\N{REPLACEMENT CHARACTER}\n"


def test_huge_file_is_refused_and_a_pipe_never_waited_for(tmp_path: Path) -> None:
    write(tmp_path / "resolv.conf", "#" * (MAX_FILE_BYTES + 1))
    with pytest.raises(OSError, match="larger") as caught:
        read_resolver_files([], str(tmp_path))
    assert caught.value.errno == errno.EFBIG
    (tmp_path / "resolv.conf").unlink()
    os.mkfifo(tmp_path / "resolv.conf")
    assert read_resolver_files([], str(tmp_path)).resolv_conf == ""


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_text_is_refused_and_leaves_nothing_open(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """A directory, as container engines make it for a missing file, and a pipe without a writer."""
    make(tmp_path / "resolv.conf")
    kept = os.open(tmp_path / "resolv.conf", os.O_RDWR if make is os.mkfifo else os.O_RDONLY)
    try:
        before = os.listdir("/proc/self/fd")
        with pytest.raises((IsADirectoryError, BlockingIOError)):
            read_resolver_files([], str(tmp_path))
        assert os.listdir("/proc/self/fd") == before
    finally:
        os.close(kept)
