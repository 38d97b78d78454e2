"""A guarantee of the documents, changes that break it, and the tests that must then fail."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class UnappliedError(Exception):
    """The change does not fit the file any more."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A change of one file.

    Attributes:
        file: a file that enforces the guarantee, relative to the checkout.
        old: a text that occurs exactly once in the file.
        new: the text to put in its place.
        tests: node ids or files of pytest; at least one test of each must fail.
    """

    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def changed(self, text: str) -> str:
        """Return the text of the file with the change.

        Raises:
            UnappliedError: `old` is not there, or more than once.
        """
        count = text.count(self.old)
        if count != 1:
            raise UnappliedError(f"the text to replace is {count} times in {self.file}, not once: {self.old!r}")
        return text.replace(self.old, self.new)

    def changed_file(self, checkout: Path) -> str:
        """Return the text of the file of a checkout with the change.

        Raises:
            UnappliedError: as `changed`, or there is no such file.
        """
        try:
            text = (checkout / self.file).read_text()
        except FileNotFoundError as error:
            raise UnappliedError(f"there is no file {self.file}") from error
        return self.changed(text)


@dataclass(frozen=True, slots=True)
class Guarantee:
    """A guarantee. The table in broker/ARCHITECTURE.md has its sentence.

    Attributes:
        id: its name; in the documents, `g-` stands before it.
        mutants: changes that break it: at least one of each file that enforces it.
    """

    id: str
    mutants: tuple[Mutant, ...]

    @property
    def files(self) -> tuple[str, ...]:
        """The files that enforce it."""
        return tuple(dict.fromkeys(mutant.file for mutant in self.mutants))

    @property
    def tests(self) -> tuple[str, ...]:
        """The files of the tests that guard it."""
        return tuple(dict.fromkeys(test.partition("::")[0] for mutant in self.mutants for test in mutant.tests))
