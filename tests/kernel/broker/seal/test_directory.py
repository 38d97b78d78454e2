"""The directory of the pins: whoever can write there has every limit of this host in hand."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nsbrokerd.seal.maps import take_directory
from support import namespaces
from support.namespaces import PREFIX
from support.users import USER


@pytest.mark.parametrize(
    "spoil",
    [lambda path: path.chmod(0o720), lambda path: path.chmod(0o702), lambda path: os.chown(path, USER, 0)],
    ids=["group", "others", "owner"],
)
def test_directory_that_others_can_write_is_refused(spoil: Callable[[Path], None]) -> None:
    if reason := namespaces.why_not():
        pytest.skip(reason)
    directory = Path("/sys/fs/bpf") / f"{PREFIX}pins"
    try:
        os.close(take_directory(directory))
        assert directory.stat().st_mode & 0o777 == 0o700
        spoil(directory)
        with pytest.raises(OSError, match="others than root can write it"):
            take_directory(directory)
    finally:
        directory.rmdir()
