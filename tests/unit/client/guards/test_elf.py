"""The references of a shared object are read from its file."""

from __future__ import annotations

import _ctypes
import _socket
import _ssl
import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsbroker.guards.elf import read, read_file

SOME_LIBRARY = next(
    (
        (module.__file__, symbol)
        for module, symbol in ((_ssl, b"SSL_new"), (_socket, b"connect"), (_ctypes, b"dlsym"))
        if getattr(module, "__file__", None)
    ),
    None,
)
"""An extension module of this Python and a function that it calls, or None if all are built in."""


@pytest.mark.skipif(SOME_LIBRARY is None, reason="this Python has its extension modules built in")
def test_functions_and_objects_that_a_library_needs_are_found() -> None:
    assert SOME_LIBRARY is not None
    path, symbol = SOME_LIBRARY
    found = read_file(str(path))
    assert symbol in found.symbols
    assert any(name.startswith("libc.") for name in found.needed)


@given(st.binary(max_size=200), st.integers(0, 64))
def test_any_bytes_are_read_or_refused(data: bytes, magic: int) -> None:
    library = Path(str(SOME_LIBRARY[0])).read_bytes() if SOME_LIBRARY else b""
    for candidate in (data, b"\x7fELF\x02\x01" + data, library[:magic] + data):
        with contextlib.suppress(ValueError):
            assert all(isinstance(name, bytes) for name in read(candidate).symbols)


def test_empty_file_is_no_shared_object(tmp_path: Path) -> None:
    (tmp_path / "empty.so").touch()
    with pytest.raises(ValueError, match="empty"):
        read_file(str(tmp_path / "empty.so"))
