"""The description of a suite: its tests, the ways to run them, and the files that it needs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

LOCK = Path(__file__).parents[1] / "requirements.lock"


@dataclass(frozen=True, slots=True)
class Way:
    """A way to run tests through the product, and the parts of the suite that must pass in this way.

    Attributes:
        parts: the units that run in a process of their own, such as the modules of the suite.
        prelude: a file of `inside/preludes`, without `.py`. Its code runs before any test is imported.
        command: the words before the program's own. `{namespace}` stands for the namespace's name.
    """

    parts: tuple[str, ...]
    prelude: str | None = None
    command: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prepared:
    """The place where a suite runs.

    Attributes:
        directory: the current directory of its tests. The unprivileged user can read it. Default: an empty directory
            that this user can write.
        path: directories for PYTHONPATH.
        environment: further variables.
    """

    directory: Path | None = None
    path: tuple[Path, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Suite:
    """A test suite of another project.

    Attributes:
        name: its name on the command line, and of its file in `reasons/`.
        ways: the ways to run it, by name.
        runner: a file of `inside/`, without `.py`. It gets the part and `arguments`.
        prepare: gets an empty directory, installs the suite there, and returns its place.
        arguments: further arguments of the runner.
        limit_s: a step that takes longer than this is killed, and counts as hung.
    """

    name: str
    ways: Mapping[str, Way]
    runner: str
    prepare: Callable[[Path], Prepared]
    arguments: tuple[str, ...] = ()
    limit_s: float = 120


class UnavailableError(Exception):
    """The suite can't be had on this machine. The message says why."""


def pip(*arguments: str) -> None:
    """Run pip of this environment.

    Raises:
        UnavailableError: pip failed.
    """
    command = [sys.executable, "-P", "-m", "pip", "--quiet", *arguments]
    if subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode != 0:
        raise UnavailableError(f"pip {' '.join(arguments)} failed")


def sdist(name: str, version: str, directory: Path) -> Path:
    """Download the source of a release, unpack it in the directory, and return the place of its files."""
    pip("download", "--no-deps", "--no-binary", name, "--dest", str(directory), f"{name}=={version}")
    [archive] = directory.glob("*.tar.gz")
    subprocess.run(["tar", "--extract", "--file", archive, "--directory", directory, "--no-same-owner"], check=True)
    return directory / archive.name.removesuffix(".tar.gz")


def install(directory: Path, *requirements: str) -> Path:
    """Install what a suite needs beside the libraries of the tests, in a directory for PYTHONPATH, and return it."""
    pip("install", "--target", str(directory), "--constraint", str(LOCK), *requirements)
    return directory
