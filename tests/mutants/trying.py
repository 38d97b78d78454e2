"""Tries mutants: applies each to a copy of the checkout, and runs its tests there."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from .copies import Copy
from .guarantee import Mutant, UnappliedError

TIMEOUT_S = 120
"""For the tests of one mutant: each has tests that are quick."""

UNCHANGED_TIMEOUT_S = 900
"""For all of these tests, without a change."""

AT_ONCE = 2
"""Mutants that are tried at the same time. More would not be faster: most tests wait for another process."""


class Verdict(Enum):
    """What came of a mutant, in words."""

    KILLED = "killed"
    SURVIVED = "survived"
    UNAPPLIED = "could not be applied"
    TIMED_OUT = "timed out"
    NOT_RUN = "its tests did not run"


class Result(NamedTuple):
    """A mutant's verdict, with a reason for people."""

    name: str
    mutant: Mutant
    verdict: Verdict
    reason: str
    seconds: float


class Run(NamedTuple):
    """What pytest said: how often each outcome was there, and the end of its output. None instead of a timeout."""

    outcomes: Counter[str]
    output: str


class UnchangedError(Exception):
    """Tests that guard a guarantee do not all pass without a change."""


@contextmanager
def _directory() -> Iterator[Path]:
    """Make a directory that every user can enter, and remove it at the end."""
    with tempfile.TemporaryDirectory(prefix="nsbroker-mutants-") as path:
        Path(path).chmod(0o755)
        yield Path(path)


def try_all(checkout: Path, mutants: Mapping[str, Mutant], tell: Callable[[Result], None]) -> list[Result]:
    """Try mutants, some at a time, and tell of each as soon as it is decided.

    Raises:
        UnchangedError: a test of theirs does not pass without a change.
    """
    with _directory() as directory:
        original = Copy(directory / "original")
        original.fill(checkout)
        _expect_passes(original, dict.fromkeys(test for mutant in mutants.values() for test in mutant.tests))

        def try_and_tell(name: str) -> Result:
            began = time.monotonic()
            verdict, reason = _try(original, mutants[name])
            result = Result(name, mutants[name], verdict, reason, time.monotonic() - began)
            tell(result)
            return result

        with _workers() as pool:
            return list(pool.map(try_and_tell, mutants))


@contextmanager
def _workers() -> Iterator[ThreadPoolExecutor]:
    """Make threads; if the program is interrupted, what they run is ended, too."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for session in list(_running):
                _end(session)
            raise


def _expect_passes(copy: Copy, tests: Iterable[str]) -> None:
    """Run all tests, without a change, in as many processes as later."""
    groups = [list(tests)[index::AT_ONCE] for index in range(AT_ONCE)]
    with _workers() as pool:
        runs = pool.map(lambda group: run_tests(copy, group, UNCHANGED_TIMEOUT_S) if group else None, groups)
        for group, run in zip(groups, runs, strict=True):
            if group and (run is None or set(run.outcomes) - {"passed", "skipped"} or not run.outcomes["passed"]):
                raise UnchangedError(f"without a change, not all tests pass:\n{run.output if run else 'a timeout'}")


def _try(original: Copy, mutant: Mutant) -> tuple[Verdict, str]:
    with _directory() as directory:
        copy = Copy(directory)
        copy.fill_like(original)
        try:
            copy.change(mutant)
            _expect_import(copy, mutant.file)
        except UnappliedError as error:
            return Verdict.UNAPPLIED, str(error)
        for test in mutant.tests:
            verdict, reason = _judge(run_tests(copy, [test], TIMEOUT_S))
            if verdict is not Verdict.KILLED:
                return verdict, f"{test}: {reason}"
    return Verdict.KILLED, ""


def _expect_import(copy: Copy, file: str) -> None:
    """Import the changed module: a test that fails because there is no such module says nothing.

    Raises:
        UnappliedError: it can't be imported.
    """
    module = copy.module(file)
    if module is None or module.endswith("__main__"):
        return
    command = [copy.python, "-P", "-c", f"import {module}"]
    done = subprocess.run(command, env=copy.variables(), cwd="/", capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UnappliedError(f"the changed module can't be imported: {done.stderr.strip().splitlines()[-1]}")


def _judge(run: Run | None) -> tuple[Verdict, str]:
    if run is None:
        return Verdict.TIMED_OUT, f"no end within {TIMEOUT_S} s"
    if run.outcomes["failed"]:
        return Verdict.KILLED, ""
    if run.outcomes["error"] or not run.outcomes["passed"]:
        return Verdict.NOT_RUN, run.output
    return Verdict.SURVIVED, "no test failed"


def run_tests(copy: Copy, tests: Sequence[str], timeout_s: float) -> Run | None:
    """Run tests in a copy until the first one fails; None if they do not end in time."""
    report = copy.checkout / f"report-{abs(hash(tuple(tests)))}.xml"
    options = ["-x", "-q", "-p", "no:cacheprovider", "-o", "junit_family=xunit1", f"--junitxml={report}"]
    output_file = report.with_suffix(".log")
    with (
        output_file.open("wb") as output,
        subprocess.Popen(
            [copy.python, "-P", "-m", "pytest", *options, *tests],
            cwd=copy.checkout,
            env=copy.variables(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        _running.add(process.pid)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _end(process.pid)
            _running.discard(process.pid)
    outcomes = _read(report) if report.exists() else Counter[str]()
    return Run(outcomes, "\n".join(output_file.read_text(errors="replace").splitlines()[-30:]))


_running: set[int] = set()
"""The process ids of pytest."""


def _end(session: int) -> None:
    """End what a pytest has left: a failed test can leave a broker that would take processor time from all others."""
    while left := list(_processes(session)):
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    for path in Path("/run/netns").glob(f"nsbt{session}-*"):
        subprocess.run(["ip", "netns", "delete", path.name], capture_output=True, check=False)


def _processes(session: int) -> Iterator[int]:
    """Find the processes of a session that have not ended."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, _, its_session = stat.read_text().rpartition(") ")[2].split()[:4]
            if its_session == str(session) and state not in "ZX":
                yield int(stat.parent.name)


def _read(report: Path) -> Counter[str]:
    """Count outcomes. A test has failed only by itself: its fixtures, and a file that can't be read, are errors."""
    outcomes = Counter[str]()
    for case in ElementTree.parse(report).iter("testcase"):
        found = {child.tag for child in case} & {"failure", "error", "skipped"}
        outcomes.update({"failed" if one == "failure" else one for one in found} or {"passed"})
    return outcomes
