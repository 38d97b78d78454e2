"""Releases of the project, from the wheels in tests/releases: one side of a test is an earlier version."""

from __future__ import annotations

import zipfile
from pathlib import Path

from support.checkout import TESTS

WHEELS = sorted((TESTS / "releases").glob("*.whl"))
"""The wheels as they were published: the previous release alone."""


def unpack(wheel: Path, directory: Path) -> str:
    """Unpack the packages of a wheel, and return the directory for PYTHONPATH."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory)
    return str(directory)
