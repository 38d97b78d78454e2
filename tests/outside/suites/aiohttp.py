"""The tests of aiohttp's client, through the adapter's connector, without those of proxies, which start proxy.py."""

from __future__ import annotations

import shutil
from importlib.metadata import version
from pathlib import Path

from outside.suite import Prepared, Suite, Way, install, sdist

PARTS = ("client_functional", "client_session", "client_ws_functional", "connector", "resolver",
         "web_functional")  # fmt: skip


def _prepare(directory: Path) -> Prepared:
    source = sdist("aiohttp", version("aiohttp"), directory)
    shutil.rmtree(source / "aiohttp")  # The installed one has compiled parts.
    needed = install(
        directory / "needed", "aiodns", "blockbuster", "coverage", "freezegun", "isal", "pytest-codspeed", "pytest-cov",
        "pytest-mock", "pytest-timeout", "pytest-xdist", "python-on-whales", "zlib-ng",
    )  # fmt: skip
    return Prepared(source, (needed,))


SUITE = Suite(
    name="aiohttp",
    ways={"adapter": Way(tuple(f"tests/test_{part}.py" for part in PARTS), prelude="aiohttp")},
    runner="run_pytest",
    prepare=_prepare,
    arguments=("--numprocesses=0", "--no-cov", "-W", "ignore::pytest.PytestAssertRewriteWarning"),
    limit_s=40,
)
