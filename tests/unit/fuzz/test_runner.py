"""A failure of the fuzzer fails the run, which prints the command that repeats the failure."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from support.checkout import TESTS

TARGET = """
import contextlib
from fuzz.target import Target
from nsbroker import wire

def check(data):
    assert data != b"bad", "a promise is broken"
    with contextlib.suppress(wire.ProtocolError):
        wire.decode_reply(data)

TARGET = Target(check, (b"{token}",), 4)
"""


def run(directory: Path, *arguments: str, token: str = "bad") -> subprocess.CompletedProcess[str]:
    (directory / "broken.py").write_text(TARGET.replace("{token}", token))
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "NSBROKER_FUZZ_TARGETS": str(directory)}
    command = [sys.executable, "-P", "-m", "fuzz", "broken", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_input_that_breaks_a_promise_fails_and_can_be_repeated(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="there is no wheel of atheris for this Python")
    done = run(tmp_path, "--seconds", "60")
    assert done.returncode == 1
    assert "broken: FAILED" in done.stdout
    assert "a promise is broken" in done.stdout
    [command] = re.findall(r"Repeat it: tests/fuzz/run broken (.*)", done.stdout)
    assert shlex.split(command) == ["--input", "b'bad'"]
    again = run(tmp_path, *shlex.split(command))
    assert again.returncode == 1
    assert "AssertionError: a promise is broken" in again.stderr


def test_run_without_a_failure_prints_figures(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="there is no wheel of atheris for this Python")
    done = run(tmp_path, "--seconds", "1", token="good")
    assert done.returncode == 0
    assert re.search(r"^broken: \d+ executions, \d+ branches, \d+ features, \d+ inputs, \d+ MB$", done.stdout, re.M)


def test_input_that_keeps_all_promises_is_no_failure(tmp_path: Path) -> None:
    done = run(tmp_path, "--input", "b'good'")
    assert (done.returncode, done.stdout) == (0, "broken: this input keeps all promises\n")


def test_unknown_target_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path, "brocken")
    assert done.returncode == 2
    assert "there is no target brocken" in done.stderr
