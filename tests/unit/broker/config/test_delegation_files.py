"""The files that delegate ids are read again when they change, and only if root alone can change them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog.testing

from nsbrokerd.config import trusted_files
from nsbrokerd.config.delegation_files import MAX_FILE_BYTES, RECHECK_S, DelegationFiles


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with users and delegated ids. Its parents may belong to anyone."""
    monkeypatch.setattr(trusted_files, "_is_own", lambda status: status.st_uid == os.geteuid() or not status.st_uid)
    (tmp_path / "passwd").write_text("alice:x:1000:1::/:/\nbob:x:1001:1::/:/\n", encoding="latin-1")
    (tmp_path / "subuid").write_text("alice:100000:10\n")
    return tmp_path


def replace(path: Path, text: str) -> None:
    """Replace a file as usermod(8) does."""
    new = path.with_suffix(".new")
    new.write_text(text, encoding="latin-1")
    new.rename(path)


def test_files_are_read_again_when_they_change(etc: Path) -> None:
    """At most once a second. Missing files delegate nothing."""
    files = DelegationFiles(etc)
    assert (files.person_of(100001), files.persons_named([], [100001])) == (1000, set())
    replace(etc / "subuid", "bob:100000:10\n")
    replace(etc / "subgid", "alice:100000:10\n")
    assert files.refresh(100)
    assert (files.person_of(100001), files.persons_named([], [100001])) == (1001, {1000})
    replace(etc / "subuid", "alice:100000:10\n")
    assert not files.refresh(100 + RECHECK_S / 2)
    assert files.person_of(100001) == 1001
    assert files.refresh(100 + RECHECK_S)
    assert files.person_of(100001) == 1000
    assert not files.refresh(200)


def test_change_that_concerns_no_id_is_no_change(etc: Path) -> None:
    """Every user may change its shell or its real name, which need not be UTF-8."""
    files = DelegationFiles(etc)
    replace(etc / "passwd", "alice:x:1000:1:\xc4lice:/:/bin/sh\nbob:x:1001:1::/:/\n")
    assert not files.refresh(100)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.chmod(0o622), "users other than root can write"),
        (lambda path: replace(path, "#" * MAX_FILE_BYTES + "#"), f"it has more than {MAX_FILE_BYTES} bytes"),
        (lambda path: replace(path, "alice:1:1\n" * 8193), "more than 8192 lines"),
        (lambda path: (path.unlink(), path.mkdir()), "not a regular file"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "not a regular file"),
        (lambda path: (path.unlink(), path.symlink_to(path)), "Too many levels of symbolic links"),
    ],
)
def test_bad_file_leaves_the_last_good_ones_in_force(etc: Path, spoil: Callable[[Path], object], reason: str) -> None:
    """The log has the reason once. At the start, there are no good ones: all that are no users are one person."""
    files = DelegationFiles(etc)
    spoil(etc / "subuid")
    with structlog.testing.capture_logs() as lines:
        assert not files.refresh(100)
        assert not files.refresh(200)
    assert [reason in line["reason"] for line in lines] == [True]
    assert (files.person_of(100001), files.person_of(100011)) == (1000, 100011)
    started = DelegationFiles(etc)
    assert started.person_of(100001) == started.person_of(100011) not in (1000, 1001)
    assert (started.person_of(0), started.person_of(1000)) == (0, 1000)


def test_without_users_all_but_root_are_one_person(etc: Path) -> None:
    (etc / "passwd").chmod(0o666)
    files = DelegationFiles(etc)
    assert files.person_of(1000) == files.person_of(1001) == files.person_of(100001)
    assert files.person_of(0) == 0
