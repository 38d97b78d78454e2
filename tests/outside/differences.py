"""Compares the outcomes of both sides with the listed reasons. Pure, but for reading the files in `reasons/`."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from outside.inside.steps import IMPORT
from outside.trial import Outcome, Outcomes

REASONS = Path(__file__).parent / "reasons"
_KEYS = {"ways", "part", "tests", "reason", "python", "sometimes"}
_VERSION = "{}.{}".format(*sys.version_info[:2])


@dataclass(frozen=True, slots=True)
class Reason:
    """An explained difference.

    Attributes:
        ways: the ways in which the tests differ.
        part: the part of the suite.
        tests: names of tests. A name that ends with `*` means all tests that begin so.
        reason: one or more sentences in plain English.
        sometimes: the tests differ only in some runs.
    """

    ways: tuple[str, ...]
    part: str
    tests: tuple[str, ...]
    reason: str
    sometimes: bool = False

    def covers(self, way: str, part: str, test: str) -> bool:
        """Return whether this explains the difference of a test."""
        return way in self.ways and part == self.part and any(matches(name, test) for name in self.tests)


@dataclass(frozen=True, slots=True)
class Difference:
    """A test that passes natively but not through the product."""

    test: str
    outcome: Outcome
    reason: Reason | None


def matches(name: str, test: str) -> bool:
    """Return whether a listed name means a test."""
    return test.startswith(name[:-1]) if name.endswith("*") else test == name


def read_reasons(suite: str, directory: Path = REASONS) -> list[Reason]:
    """Return the reasons of a suite that hold for this version of Python.

    Raises:
        ValueError: an entry lacks a key, or has an unknown one.
    """
    path = directory / f"{suite}.toml"
    entries = tomllib.loads(path.read_text())["difference"] if path.exists() else []
    reasons = []
    for entry in entries:
        if missing := {"ways", "part", "tests", "reason"} - entry.keys():
            raise ValueError(f"{path}: an entry has no {min(missing)}: {entry}")
        if unknown := entry.keys() - _KEYS:
            raise ValueError(f"{path}: an entry has an unknown key {min(unknown)}: {entry}")
        if _VERSION in entry.pop("python", [_VERSION]):
            ways, tests = tuple(entry.pop("ways")), tuple(entry.pop("tests"))
            reasons.append(Reason(ways=ways, tests=tests, **entry))
    return reasons


def passed(outcomes: Outcomes) -> list[str]:
    """Return the tests that have passed, without the steps that are no tests."""
    return [test for test, outcome in outcomes.items() if outcome.word == "passed" and not test.startswith("(")]


def differences(native: Outcomes, ours: Outcomes, way: str, part: str, reasons: Sequence[Reason]) -> list[Difference]:
    """Return the tests that pass natively but not through the product, each with its reason if there is one."""
    found = []
    for test in native:
        if native[test].word != "passed":
            continue
        outcome = ours.get(test, Outcome("not run"))
        if outcome.word != "passed":
            reason = next((reason for reason in reasons if reason.covers(way, part, test)), None)
            found.append(Difference(test, outcome, reason))
            if test == IMPORT:
                break  # All tests differ, for the same reason.
    return found


def outdated(found: Iterable[Difference], way: str, part: str, reasons: Sequence[Reason]) -> list[str]:
    """Return the listed names of this part and way that explain no difference any more."""
    differing = [difference.test for difference in found]
    return [
        name
        for reason in reasons
        if way in reason.ways and part == reason.part and not reason.sometimes
        for name in reason.tests
        if not any(matches(name, test) for test in differing)
    ]
