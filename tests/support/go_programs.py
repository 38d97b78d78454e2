"""Builds programs and tests in Go, for the client in client/go: with the compiler alone, and no other module."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from support.checkout import CHECKOUT
from support.documents import examples

CLIENT = CHECKOUT / "client" / "go"
BUILD_S = 600

_READERS_CHECKOUT = "/usr/src/nsbroker"
"""The place of the client in client/docs/go.md."""


class Go:
    """The compiler. `cache` is a directory that a later run can use again.

    With a C compiler, the race detector watches tests and programs.
    """

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self.race = ["-race"] if shutil.which("gcc") else []

    @staticmethod
    def why_not() -> str | None:
        """Return the reason why this machine can't have it, or None."""
        return None if shutil.which("go") else "there is no Go compiler (package golang-go of Debian)"

    def run(self, *arguments: str, directory: Path = CLIENT) -> subprocess.CompletedProcess[str]:
        """Run a go command, and return its outcome."""
        environment = {
            **os.environ,
            "GOCACHE": str(self._cache),
            "GOPATH": str(self._cache / "path"),
            "GOENV": "off",
            "GOFLAGS": "-buildvcs=false",
            "GOPROXY": "off",  # The client needs no other module.
            "GOTOOLCHAIN": "local",
            "CGO_ENABLED": "1" if self.race else "0",
        }
        return subprocess.run(
            ["go", *arguments],
            cwd=directory,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=BUILD_S,
        )

    def build_tests(self, place: Path) -> Path:
        """Build the tests of the client into one program, and return its path."""
        program = place / "nsbroker.test"
        done = self.run("test", "-c", *self.race, "-o", str(program), ".")
        assert done.returncode == 0, done.stdout + done.stderr
        return program

    def build(self, place: Path, text: str) -> Path:
        """Build a program with this main.go, and return its path."""
        source = place / "source"
        source.mkdir(exist_ok=True)
        (module,) = examples("go mod")
        lines = module.text.replace(_READERS_CHECKOUT, str(CHECKOUT))
        assert lines != module.text
        (source / "go.mod").write_text(f"module example.test/program\n\ngo 1.19\n\n{lines}")
        (source / "main.go").write_text(text)
        program = place / "program"
        done = self.run("build", *self.race, "-o", str(program), ".", directory=source)
        assert done.returncode == 0, done.stdout + done.stderr
        return program
