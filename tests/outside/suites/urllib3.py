"""The tests of urllib3, through its adapter, without those of `contrib.socks`, which the adapter does not have."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from outside.suite import Prepared, Suite, Way, install, sdist

PARTS = (
    "test_connection", "test_connectionpool", "test_exceptions", "test_poolmanager", "test_proxymanager",
    "test_queue_monkeypatch", "test_ssl", "test_ssltransport",
    "with_dummyserver/test_chunked_transfer", "with_dummyserver/test_connection",
    "with_dummyserver/test_connectionpool", "with_dummyserver/test_https", "with_dummyserver/test_no_ssl",
    "with_dummyserver/test_poolmanager", "with_dummyserver/test_proxy_poolmanager",
    "with_dummyserver/test_socketlevel",
)  # fmt: skip


def _prepare(directory: Path) -> Prepared:
    source = sdist("urllib3", version("urllib3"), directory)
    needed = install(directory / "needed", "PySocks", "pytest-timeout", "quart", "quart-trio")
    return Prepared(source, (needed,))


SUITE = Suite(
    name="urllib3",
    ways={"adapter": Way(tuple(f"test/{part}.py" for part in PARTS), prelude="urllib3")},
    runner="run_pytest",
    prepare=_prepare,
    limit_s=40,
)
