"""Runs suites natively and through the product, and prints the differences: `tests/run --outside [SUITE...]`."""

from __future__ import annotations

import itertools
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from outside.differences import Difference, Reason, differences, outdated, passed, read_reasons
from outside.lab import NAME, Lab, lab
from outside.suite import Prepared, Suite, UnavailableError
from outside.suites import ALL
from outside.trial import Outcomes, Trial

INSIDE = Path(__file__).parent / "inside"
LINES = 12
"""The last lines of a traceback are shown."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    suite: str
    way: str
    part: str
    native: int
    ours: int
    found: list[Difference]
    outdated: list[str]

    @property
    def is_as_listed(self) -> bool:
        """Whether tests ran, each difference has a reason, and each reason a difference."""
        return self.native > 0 and not self.outdated and all(difference.reason for difference in self.found)


@dataclass(slots=True)
class Comparison:
    """The runs of one suite. Parts that several ways share run natively once."""

    lab: Lab
    suite: Suite
    place: Prepared
    inside: Path
    reasons: list[Reason]
    natives: dict[str, Outcomes]

    def _trial(self, part: str, way: str | None) -> Trial:
        prelude, words = None, ()
        if way is not None:
            prelude, words = self.suite.ways[way].prelude, self.suite.ways[way].command
        runner = self.inside / f"{self.suite.runner}.py"
        command = [sys.executable, "-P", str(runner), part, *self.suite.arguments]
        environment = {
            **self.place.environment,
            "PYTHONPATH": ":".join(map(str, (self.inside, *self.place.path))),
        }
        if prelude is not None:
            environment["OUTSIDE_PRELUDE"] = str(self.inside / "preludes" / f"{prelude}.py")
        place = self.lab.native if way is None else self.lab.beside
        words = tuple(word.format(namespace=NAME) for word in words)
        return Trial(place(*words, *command), environment, self.place.directory, self.suite.limit_s)

    def compare(self, way: str, part: str) -> Row:
        """Run a part on both sides. A test that differs without a listed reason gets a second try alone."""
        if part not in self.natives:
            self.natives[part] = self._trial(part, None).run(self.lab)
        native = self.natives[part]
        ours = self._trial(part, way).run(self.lab)
        found = differences(native, ours, way, part, self.reasons)
        if again := [difference.test for difference in found if difference.reason is None]:
            second = self._trial(part, way).run(self.lab, only=again)
            ours |= {test: second[test] for test in again if test in second}
            found = differences(native, ours, way, part, self.reasons)
        count = len(set(passed(native)) & set(passed(ours)))
        return Row(
            self.suite.name, way, part, len(passed(native)), count, found, outdated(found, way, part, self.reasons)
        )


def chosen(arguments: list[str]) -> Iterator[tuple[Suite, str, str]]:
    """Yield suite, way and part for arguments such as `cpython`, `cpython/patch`, `cpython/patch/test_socket`.

    Raises:
        ValueError: there is no such suite, way or part.
    """
    known = [(suite, way, part) for suite in ALL.values() for way, how in suite.ways.items() for part in how.parts]
    for argument in arguments:
        if not any(_is_meant(*one, argument) for one in known):
            raise ValueError(f"there is no {argument}; the suites are {', '.join(ALL)}")
    for one in known:
        if not arguments or any(_is_meant(*one, argument) for argument in arguments):
            yield one


def _is_meant(suite: Suite, way: str, part: str, argument: str) -> bool:
    return f"{suite.name}/{way}/{part}/".startswith(f"{argument}/")


def show(row: Row, seconds: float) -> None:
    """Print a row, and then each difference."""
    mark = "ok" if row.is_as_listed else "DIFFERS"
    print(
        f"{row.suite:<10} {row.way:<14} {row.part:<32} {row.native:>6} {row.ours:>6}  {mark} ({seconds:.0f} s)",
        flush=True,
    )
    if row.native == 0:
        print("    no test passed natively", flush=True)
    for difference in row.found:
        reason = difference.reason.reason if difference.reason else f"NOT LISTED{_end_of(difference.outcome.text)}"
        print(f"    {difference.test}: {difference.outcome.word}: {reason}", flush=True)
    for name in row.outdated:
        print(f"    {name}: listed as a difference, but does not differ", flush=True)


def _end_of(text: str) -> str:
    return "".join(f"\n        {line}" for line in text.splitlines()[-LINES:])


@contextmanager
def work_directory() -> Iterator[Path]:
    """Yield a directory that every user can read."""
    path = Path(tempfile.mkdtemp(prefix="nsbroker-outside-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def main(arguments: list[str]) -> int:
    """Run the suites, print the table, and return the exit status."""
    try:
        rows = list(chosen(arguments))
    except ValueError as error:
        print(error)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    failed, comparisons, shown = [], {}, []
    print(f"{'suite':<10} {'way':<14} {'part':<32} {'native':>6} {'ours':>6}")
    with work_directory() as work, lab() as place:
        inside = work / "inside"
        shutil.copytree(INSIDE, inside)
        for suite, way, part in rows:
            if suite.name not in comparisons:
                own = work / suite.name
                own.mkdir()
                try:
                    prepared = suite.prepare(own)
                except UnavailableError as error:
                    print(f"{suite.name}: not available: {error}", flush=True)
                    failed.append(f"{suite.name}: not available")
                    comparisons[suite.name] = None
                    continue
                comparisons[suite.name] = Comparison(place, suite, prepared, inside, read_reasons(suite.name), {})
            comparison = comparisons[suite.name]
            if comparison is None:
                continue
            began = time.monotonic()
            row = comparison.compare(way, part)
            show(row, time.monotonic() - began)
            shown.append(row)
            if not row.is_as_listed:
                failed.append(f"{suite.name}/{way}/{part}")
    print("\nall parts:")
    for (name, way), group in itertools.groupby(shown, lambda row: (row.suite, row.way)):
        parts = list(group)
        print(f"{name:<10} {way:<47} {sum(row.native for row in parts):>6} {sum(row.ours for row in parts):>6}")
    if failed:
        print("\ndiffer from the listed reasons:", *failed, sep="\n  ")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
