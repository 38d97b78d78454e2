"""The network tests of anyio, through its adapter, on asyncio, uvloop and trio."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from outside.suite import Prepared, Suite, Way, install, sdist


def _prepare(directory: Path) -> Prepared:
    source = sdist("anyio", version("anyio"), directory)
    needed = install(directory / "needed", "blockbuster", "psutil", "pytest-mock", "pytest-timeout", "truststore")
    return Prepared(source, (needed,))


SUITE = Suite(
    name="anyio",
    ways={"adapter": Way(("tests/test_sockets.py", "tests/streams/test_tls.py"), prelude="anyio")},
    runner="run_pytest",
    prepare=_prepare,
    arguments=("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # pytest has anyio as a plugin, too.
    limit_s=25,
)
