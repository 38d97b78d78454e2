"""The files in /etc/netns that say how names are looked up in a namespace of a test."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

ETC = Path("/etc/netns")

_made: list[Path] = []


def make_files(namespace: str) -> Path:
    """Make the directory for the files of a namespace, and return its path."""
    directory = ETC / namespace
    while True:
        with suppress(FileExistsError):
            ETC.mkdir()
            _made.append(ETC)
        with suppress(FileNotFoundError):  # Another test run has just removed the parent.
            directory.mkdir()
            return directory


def remove_files(namespace: str) -> None:
    """Remove the directory, and its parent if this test run made it and no other uses it."""
    shutil.rmtree(ETC / namespace)
    if _made:
        with suppress(OSError):
            ETC.rmdir()
            _made.clear()
