"""The socket that a broker makes for itself."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from nsbrokerd.service.listener import OwnListener
from support.users import GROUP


def group_and_mode(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_gid, stat.S_IMODE(status.st_mode)


def test_socket_is_made_with_its_group_and_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that connects while the broker starts again must not be told that it may not connect."""
    path = str(tmp_path / "sock")
    seen = []
    change = os.chown

    def look_and_change(*arguments: object, **options: object) -> None:
        seen.append(group_and_mode(path))
        change(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "chown", look_and_change)
    OwnListener(path, GROUP).close()
    assert seen == [(GROUP, 0o660)]


def test_socket_has_its_group_in_a_directory_that_gives_another(tmp_path: Path) -> None:
    os.chown(tmp_path, -1, GROUP + 1)
    tmp_path.chmod(0o2755)
    path = str(tmp_path / "sock")
    listener = OwnListener(path, GROUP)
    assert group_and_mode(path) == (GROUP, 0o660)
    listener.close()


def test_socket_for_root_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "sock")
    listener = OwnListener(path, None)
    assert group_and_mode(path) == (os.getegid(), 0o600)
    listener.close()
