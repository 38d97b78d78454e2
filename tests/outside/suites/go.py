"""The tests of Go's packages net and net/http. Their programs make their sockets without the C library."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from outside.suite import Prepared, Suite, UnavailableError, Way

PACKAGES = ("net", "net/http")


def _prepare(directory: Path) -> Prepared:
    if shutil.which("go") is None:
        raise UnavailableError("there is no go (Debian: golang-go)")
    for package in PACKAGES:
        program = directory / f"{package.replace('/', '_')}.test"
        variables = {**os.environ, "GOCACHE": str(directory / "cache")}
        subprocess.run(["go", "test", "-c", "-o", program, package], env=variables, check=True)
    shutil.rmtree(directory / "cache")
    return Prepared(environment={"OUTSIDE_PROGRAMS": str(directory)})


SUITE = Suite(
    name="go",
    ways={"run": Way(PACKAGES, command=("nsbroker-get", "{namespace}", "run", "--"))},
    runner="run_go",
    prepare=_prepare,
)
