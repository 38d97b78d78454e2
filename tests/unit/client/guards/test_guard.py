"""Libraries that use the network in C are refused, by whatever way a program loads them."""

from __future__ import annotations

import ctypes
import importlib
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from pathlib import Path
from typing import Any

import pytest

from nsbroker.guards import shared_objects
from nsbroker.guards.guard import Guard
from nsbroker.guards.libraries import CONNECT_IN_C, HARMLESS, BypassError
from support.users import as_user

needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no gcc")
needs_headers = pytest.mark.skipif(
    not (Path(sysconfig.get_path("include")) / "Python.h").is_file(), reason="there are no headers of Python"
)
CONNECTS = "int used(void) { return connect(0, 0, 0); }"
"""The start of a library that uses the network."""


@pytest.fixture
def make_library(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that compiles a shared object."""

    def make(name: str, code: str, *options: str) -> Path:
        source, library = tmp_path / f"{name}.c", tmp_path / name
        source.write_text(f"#include <sys/socket.h>\n{code}\n")
        soname = f"-Wl,-soname,{name}"  # Otherwise, an object that needs this one finds it by its path.
        subprocess.run(["gcc", "-shared", "-fPIC", soname, str(source), "-o", str(library), *options], check=True)
        return library

    return make


@pytest.fixture
def guard() -> Iterator[Guard]:
    """A guard in force. It does not look at libraries that other tests have loaded."""
    made = Guard("the test", "guard", allow=["nsbtestallowed"])
    made.start()
    yield made
    made.stop()


@pytest.mark.parametrize("name", ["psycopg2", "psycopg2._psycopg", "grpc", "grpc._cython.cygrpc", "pycurl", "uvloop"])
def test_libraries_that_connect_in_c_are_refused_by_name(name: str, guard: Guard) -> None:
    with pytest.raises(BypassError, match=name.partition(".")[0]) as caught:
        guard.find_spec(name)
    assert "instead, or let it leave by guard(..., allow=[" in str(caught.value)


def test_allowed_and_harmless_libraries_are_let_through() -> None:
    guard = Guard("the test", "guard", allow=["grpc"], harmless=["uvloop"])
    for name in ("grpc", "grpc._cython.cygrpc", "uvloop"):
        guard.find_spec(name)
    with pytest.raises(BypassError):
        guard.find_spec("pycurl")


def test_one_string_is_no_list_of_names() -> None:
    with pytest.raises(TypeError, match="allow="):
        Guard("the test", "guard", allow="grpc")


def test_other_modules_are_left_to_the_other_finders(guard: Guard) -> None:
    for name in ("json", "_ssl", "no_such_module"):
        guard.find_spec(name)
    for name in ("_uuid", "_ssl"):
        sys.modules.pop(name, None)
        importlib.import_module(name)


@pytest.fixture
def nothing_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the libraries that other tests have loaded."""
    for name in list(sys.modules):
        if name.partition(".")[0] in CONNECT_IN_C:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(shared_objects, "mapped_objects", set)


MODULE = """
#include <Python.h>
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "%(name)s", 0, -1, 0};
PyMODINIT_FUNC PyInit_%(name)s(void) { return PyModule_Create(&module); }
"""


@needs_gcc
@needs_headers
@pytest.mark.parametrize("calls", [True, False])
def test_extension_module_of_any_name_is_refused_if_it_connects(
    make_library: Callable[..., Path], guard: Guard, monkeypatch: pytest.MonkeyPatch, calls: bool
) -> None:
    """The import system may find it in any way."""
    name = f"nsbtest_{'bad' if calls else 'good'}"
    code = MODULE % {"name": name} + (CONNECTS if calls else "")
    library = make_library(f"{name}{EXTENSION_SUFFIXES[0]}", code, "-I", sysconfig.get_path("include"))
    monkeypatch.syspath_prepend(str(library.parent))
    if not calls:
        assert importlib.import_module(name)
        return
    for load in (importlib.import_module, __import__):
        with pytest.raises(BypassError, match=f"{name} calls connect in C"):
            load(name)


@pytest.mark.usefixtures("nothing_loaded")
def test_extension_module_that_can_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / f"nsbtest_torn{EXTENSION_SUFFIXES[0]}"
    library.write_bytes(b"\x7fELF\x02\x01 and no more")
    module = type(sys)("nsbtest_torn")
    module.__spec__ = ModuleSpec("nsbtest_torn", ExtensionFileLoader("nsbtest_torn", str(library)), origin=str(library))
    monkeypatch.setitem(sys.modules, "nsbtest_torn", module)
    with pytest.raises(BypassError, match="can't tell whether nsbtest_torn"):
        Guard("the test", "guard").refuse_loaded()


def load_by_cffi(path: str) -> Any:
    import _cffi_backend

    return _cffi_backend.FFI().dlopen(path)


def load_by_cffi_without_compiler(path: str) -> Any:
    import _cffi_backend

    return _cffi_backend.load_library(path)


LOADERS = (ctypes.CDLL, load_by_cffi, load_by_cffi_without_compiler)


@needs_gcc
@pytest.mark.parametrize("load", LOADERS)
def test_library_that_connects_is_refused_before_it_is_loaded(
    make_library: Callable[..., Path], guard: Guard, load: Callable[[str], object]
) -> None:
    """Also by an object that it needs, and that has another name."""
    name = f"libnsbtest{LOADERS.index(load)}"
    helper = make_library(f"{name}helper.so", CONNECTS)
    library = make_library(
        f"{name}.so", "int used(void); int f(void) { return used(); }", str(helper), "-Wl,-rpath,$ORIGIN"
    )
    for path in (helper, library):
        with pytest.raises(BypassError, match=f"{path} calls connect in C") as caught:
            load(str(path))
        assert caught.value.name == path.name.partition(".")[0]
        assert str(path) not in shared_objects.mapped_objects()
    harmless = make_library(f"{name}harmless.so", "int f(void) { return 7; }")
    assert load(str(harmless))


def run_program(code: str, *args: str, **variables: str) -> str:
    """Run a program in a fresh interpreter, since a library stays loaded. Return its output."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, *args],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def in_a_child(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function that loads a library, which then stays loaded."""
    return as_user(os.getuid(), os.getgid(), function, *args)


@needs_gcc
def test_library_of_an_allowed_name_is_let_through(make_library: Callable[..., Path], guard: Guard) -> None:
    library = str(make_library("nsbtestallowed.so", CONNECTS))
    assert in_a_child(lambda: ctypes.CDLL(library)._name) == library


@needs_gcc
def test_library_that_was_loaded_before_is_refused(make_library: Callable[..., Path]) -> None:
    """In an interpreter of its own, since a library stays loaded. The object that it needs counts, too."""
    helper = make_library("libnsbtesthelper.so", CONNECTS)
    code = "int used(void); int f(void) { return used(); }"
    library = make_library("libnsbtest.so", code, str(helper), "-Wl,-rpath,$ORIGIN")
    program = """
import ctypes, sys
from nsbroker.guards.guard import Guard
from nsbroker.guards.libraries import BypassError
Guard("the test", "guard").refuse_loaded()
ctypes.CDLL(sys.argv[1])
try:
    Guard("the test", "guard").refuse_loaded()
except BypassError as error:
    print(error)
Guard("the test", "guard", allow=["libnsbtest"]).refuse_loaded()
"""
    assert f"{helper} calls connect in C" in run_program(program, str(library))


@pytest.mark.parametrize("name", ["connect", "getaddrinfo", "if_nametoindex"])
def test_functions_of_the_c_library_are_refused_by_name(guard: Guard, name: str) -> None:
    """Many programs load the C library by ctypes, so the function counts."""
    for library in (ctypes.CDLL(None), ctypes.CDLL("libc.so.6")):
        assert library.getpid() == os.getpid()
        with pytest.raises(BypassError, match=f"calls {name} by ctypes"):
            getattr(library, name)


@needs_gcc
def test_library_that_only_the_loader_finds_is_refused_at_its_first_function(
    make_library: Callable[..., Path],
) -> None:
    """The loader knows more places than this package: for example, LD_LIBRARY_PATH at the start of the process."""
    library = make_library("libnsbtestelsewhere.so", CONNECTS)
    program = """
import ctypes, os
from nsbroker.guards.guard import Guard
from nsbroker.guards.libraries import BypassError
del os.environ["LD_LIBRARY_PATH"]
Guard("the test", "guard").start()
loaded = ctypes.CDLL("libnsbtestelsewhere.so")
try:
    loaded.used
except BypassError as error:
    print(error)
"""
    assert f"{library} calls connect in C" in run_program(program, LD_LIBRARY_PATH=str(library.parent))


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/opt/libs/cryptography/hazmat/_rust.abi3.so", {"cryptography", "_rust"}),
        ("/venv/lib/python3.11/site-packages/psycopg_binary.libs/libpq-e9b5.so.5", {"psycopg_binary", "libpq"}),
    ],
)
def test_shared_object_is_allowed_by_its_name_or_by_that_of_its_package(path: str, names: set[str]) -> None:
    assert names <= shared_objects.names_in(path)
    assert shared_objects.is_trusted(path) == ("cryptography" in names)


def test_end_of_a_guard_ends_its_refusals() -> None:
    guard = Guard("the test", "guard")
    guard.start()
    guard.stop()
    assert guard not in sys.meta_path
    assert ctypes.CDLL(None).connect


def test_harmless_packages_do_not_connect_by_name() -> None:
    """A package in both tables would be refused and let through."""
    assert HARMLESS.isdisjoint(CONNECT_IN_C)
