"""Runs the fuzzer on some targets, two at a time: `tests/fuzz/run [TARGET]... [--seconds N] [--keep]`."""

from __future__ import annotations

import argparse
import faulthandler
import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import corpus, target

AT_ONCE = 2
HANG_S = 20
"""An input that takes longer counts as a hang. It takes milliseconds on a machine that has time."""

MEMORY_MB = 1024
_MOST_LITERAL = 4000
_COMMAND = "tests/fuzz/run"


class FuzzError(Exception):
    """The fuzzer found an input that breaks a promise, or could not start. The message has its words."""


def main(arguments: list[str]) -> int:
    """Run the fuzzer, and return the exit status."""
    parser = argparse.ArgumentParser(prog=_COMMAND, description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(target.names())} (default: all)")
    parser.add_argument("--seconds", type=int, default=10, help="for each target (default: 10)")
    parser.add_argument("--keep", action="store_true", help="add the new inputs to the corpus, and minimise it")
    parser.add_argument("--input", help="check this input only, which is a bytes literal")
    parser.add_argument("--file", type=Path, help="check the input in this file only")
    given = parser.parse_args(arguments)
    if unknown := set(given.targets) - set(target.names()):
        parser.error(f"there is no target {', '.join(sorted(unknown))}: there are {', '.join(target.names())}")
    chosen = given.targets or target.names()
    if given.input is not None or given.file is not None:
        if len(chosen) != 1:
            parser.error("an input needs one target")
        _check(chosen[0], corpus.parse(given.input) if given.file is None else given.file.read_bytes())
        return 0
    if importlib.util.find_spec("atheris") is None:
        print("skipped: atheris has no wheel for this Python and this machine")
        return 0
    with ThreadPoolExecutor(AT_ONCE) as executor:
        runs = [(name, executor.submit(fuzz, name, given.seconds, keep=given.keep)) for name in chosen]
        failed = False
        for name, run in runs:
            try:
                print(f"{name}: {run.result()}", flush=True)
            except FuzzError as error:
                failed = True
                print(f"{name}: FAILED\n{error}", flush=True)
    return int(failed)


def _check(name: str, data: bytes) -> None:
    """Check one input. A hang shows its place."""
    faulthandler.dump_traceback_later(HANG_S, exit=True)
    target.load(name).check(data)
    faulthandler.cancel_dump_traceback_later()
    print(f"{name}: this input keeps all promises")


def fuzz(name: str, seconds: int, *, keep: bool) -> str:
    """Fuzz one target for some seconds, and describe the run.

    Raises:
        FuzzError: with the command that repeats the failure.
    """
    chosen = target.load(name)
    with tempfile.TemporaryDirectory(prefix="nsbroker-fuzz-") as directory:
        work = Path(directory)
        inputs = corpus.unpack(corpus.read(name), work / "inputs")
        words = work / "words"
        words.write_text("".join(f'"{_escape(token)}"\n' for token in chosen.tokens))
        options = [
            f"-max_total_time={seconds}", f"-max_len={chosen.max_bytes}", f"-timeout={HANG_S}",
            f"-rss_limit_mb={MEMORY_MB}", f"-artifact_prefix={work}/found-", f"-dict={words}", "-print_final_stats=1",
        ]  # fmt: skip
        output = _run(name, [*options, str(inputs)], work)
        if keep:
            minimised = corpus.unpack((), work / "minimised")
            _run(name, ["-merge=1", f"-max_len={chosen.max_bytes}", str(minimised), str(inputs)], work)
            if not (kept := [path.read_bytes() for path in minimised.iterdir()]):
                raise FuzzError("libFuzzer kept no input")
            corpus.write(name, kept)
    return _describe(output)


def _run(name: str, options: Iterable[str], work: Path) -> str:
    """Run libFuzzer, and return its output. It starts itself again to minimise, so it needs a program of its own."""
    program = work / "fuzzer"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m fuzz.engine {program} {name} "$@"\n')
    program.chmod(0o700)
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [program, *options],
        env={**os.environ, "PYTHONPATH": ":".join(paths), "PYTHONHASHSEED": "0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if done.returncode:
        raise FuzzError(_explain(name, done.stdout, next(iter(work.glob("found-*")), None)))
    return done.stdout


def _explain(name: str, output: str, found: Path | None) -> str:
    """Return the exception, and the command that repeats it."""
    lines = [line for line in output.splitlines() if not re.match(r"#\d|INFO: |==\d+==\s*$", line)]
    told = "\n".join(lines[-40:])
    if found is None:
        return told
    data = found.read_bytes()
    if len(literal := ascii(data)) <= _MOST_LITERAL:
        return f"{told}\nRepeat it: {_COMMAND} {name} --input {shlex.quote(literal)}"
    kept = Path(tempfile.mkdtemp(prefix="nsbroker-fuzz-found-"), found.name)
    kept.write_bytes(data)
    return f"{told}\nRepeat it: {_COMMAND} {name} --file {kept}"


def _escape(token: bytes) -> str:
    """Return a token as libFuzzer's dictionaries have it."""
    return "".join(chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}" for byte in token)


def _describe(output: str) -> str:
    """Return the figures that libFuzzer printed last."""
    runs = re.search(r"number_of_executed_units:\s*(\d+)", output)
    state = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", output)
    memory = re.search(r"peak_rss_mb:\s*(\d+)", output)
    if not (runs and state and memory):
        raise FuzzError(f"the fuzzer printed no figures:\n{output[-2000:]}")
    branches, features, inputs = state[-1]
    return f"{runs[1]} executions, {branches} branches, {features} features, {inputs} inputs, {memory[1]} MB"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
