"""Libraries that would bypass a patched socket module are recognised."""

from __future__ import annotations

import _ctypes
import _socket
import _ssl
import contextlib
import shutil
import subprocess
import sys
import sysconfig
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsbroker.patching.bypass import CONNECT_IN_C, Guard, PatchError, refuse_loaded, refuse_package
from nsbroker.patching.elf import imported_symbols

SOME_LIBRARY = next(
    (
        (Path(module.__file__), symbol)
        for module, symbol in ((_socket, b"connect"), (_ssl, b"SSL_new"), (_ctypes, b"dlsym"))
        if getattr(module, "__file__", None)
    ),
    None,
)
"""Return an extension module of this Python and a function that it calls, or None if all are built in."""


@pytest.mark.skipif(SOME_LIBRARY is None, reason="this Python has its extension modules built in")
def test_functions_that_a_library_calls_are_found() -> None:
    assert SOME_LIBRARY is not None
    path, symbol = SOME_LIBRARY
    assert symbol in imported_symbols(path.read_bytes())


@given(st.binary(max_size=200), st.integers(0, 64))
def test_any_bytes_have_symbols_or_are_refused(data: bytes, magic: int) -> None:
    library = SOME_LIBRARY[0].read_bytes() if SOME_LIBRARY else b""
    for candidate in (data, b"\x7fELF\x02\x01" + data, library[:magic] + data):
        with contextlib.suppress(ValueError):
            assert all(isinstance(name, bytes) for name in imported_symbols(candidate))


@pytest.mark.parametrize("name", ["psycopg2", "psycopg2._psycopg", "grpc", "grpc._cython.cygrpc", "pycurl", "uvloop"])
def test_libraries_that_connect_in_c_are_refused_by_name(name: str) -> None:
    with pytest.raises(PatchError, match=name.partition(".")[0]):
        refuse_package(name)
    with pytest.raises(PatchError):
        Guard().find_spec(name)


def test_other_modules_are_left_to_the_other_finders() -> None:
    assert Guard().find_spec("json") is None
    assert Guard().find_spec("_ssl") is None
    assert Guard().find_spec("no_such_module") is None


@pytest.fixture
def nothing_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove imported modules that are refused, by name or because they connect in C."""
    for name in list(sys.modules):
        if name.partition(".")[0] in CONNECT_IN_C:
            monkeypatch.delitem(sys.modules, name)


@pytest.mark.usefixtures("nothing_loaded")
def test_module_that_took_the_class_before_is_named() -> None:
    """`from socket import socket` keeps the unpatched class."""

    class Original:
        pass

    module = type(sys)("took_it")
    module.socket = Original  # type: ignore[attr-defined]
    sys.modules["took_it"] = module
    try:
        with pytest.raises(PatchError, match="took_it was imported before"):
            refuse_loaded([Original])
    finally:
        del sys.modules["took_it"]


SOURCE = """
#include <Python.h>
#include <sys/socket.h>
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "%(name)s", 0, -1, 0};
int used(void) { return %(body)s; }
PyMODINIT_FUNC PyInit_%(name)s(void) { return PyModule_Create(&module); }
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no gcc")
@pytest.mark.skipif(
    not (Path(sysconfig.get_path("include")) / "Python.h").is_file(), reason="there are no headers of Python"
)
@pytest.mark.parametrize(("body", "refused"), [("connect(0, 0, 0)", True), ("7", False)])
def test_extension_module_of_any_name_is_refused_when_it_connects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, refused: bool
) -> None:
    name = f"nsbtest_{'bad' if refused else 'good'}"
    source = tmp_path / "source.c"
    source.write_text(SOURCE % {"name": name, "body": body})
    library = tmp_path / f"{name}{EXTENSION_SUFFIXES[0]}"
    include = sysconfig.get_path("include")
    subprocess.run(["gcc", "-shared", "-fPIC", "-I", include, str(source), "-o", str(library)], check=True)
    monkeypatch.syspath_prepend(str(tmp_path))
    if refused:
        with pytest.raises(PatchError, match=f"{name} calls connect in C"):
            Guard().find_spec(name)
    else:
        assert Guard().find_spec(name) is None


@pytest.mark.usefixtures("nothing_loaded")
def test_extension_module_that_can_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / f"nsbtest_torn{EXTENSION_SUFFIXES[0]}"
    library.write_bytes(b"\x7fELF\x02\x01 and no more")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PatchError, match="can't tell whether"):
        Guard().find_spec("nsbtest_torn")
    module = type(sys)("nsbtest_torn")
    module.__spec__ = ModuleSpec("nsbtest_torn", ExtensionFileLoader("nsbtest_torn", str(library)), origin=str(library))
    monkeypatch.setitem(sys.modules, "nsbtest_torn", module)
    with pytest.raises(PatchError, match="nsbtest_torn"):
        refuse_loaded([])
