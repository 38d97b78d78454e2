"""The tests of requests, through its adapter."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from outside.suite import Prepared, Suite, Way, install, sdist

PARTS = ("test_adapters", "test_help", "test_hooks", "test_lowlevel", "test_packages", "test_requests",
         "test_structures", "test_testserver", "test_utils")  # fmt: skip


def _prepare(directory: Path) -> Prepared:
    source = sdist("requests", version("requests"), directory)
    needed = install(directory / "needed", "flask", "brotlicffi", "decorator", "six", "pytest-mock", "PySocks")
    # httpbin asks for an old greenlet, which it does not use.
    httpbin = install(directory / "httpbin", "--no-deps", "httpbin==0.10.4", "pytest-httpbin==2.1.0")
    return Prepared(source, (needed, httpbin))


SUITE = Suite(
    name="requests",
    ways={"adapter": Way(tuple(f"tests/{part}.py" for part in PARTS), prelude="requests")},
    runner="run_pytest",
    prepare=_prepare,
)
