"""The network tests of trio, with the adapter's `install` in each run."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from outside.suite import Prepared, Suite, Way, sdist

PARTS = (
    "dtls", "highlevel_open_tcp_listeners", "highlevel_open_tcp_stream", "highlevel_open_unix_stream",
    "highlevel_serve_listeners", "highlevel_socket", "highlevel_ssl_helpers", "socket", "ssl",
)  # fmt: skip


def _prepare(directory: Path) -> Prepared:
    source = sdist("trio", version("trio"), directory)
    return Prepared(source, (source / "src",))


SUITE = Suite(
    name="trio",
    ways={"install": Way(tuple(f"src/trio/_tests/test_{part}.py" for part in PARTS), prelude="trio")},
    runner="run_pytest",
    prepare=_prepare,
    arguments=("--run-slow",),
)
