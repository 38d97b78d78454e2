"""Strict reading of a TOML table: each key is taken once, and each key that is left over is a problem."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, TypeVar

from .lines import Lines

_T = TypeVar("_T")

_MOST_SHOWN = 200
"""Characters of a value in a message."""

MAX_NAME_CHARACTERS = 100
"""The longest name of a grant."""


class Problem(NamedTuple):
    """One problem of a configuration.

    Attributes:
        file: its file.
        key: the path of the key, or "".
        reason: the reason, with the remedy.
        line: the line in the file, if it is known.
        is_fatal: whether the configuration can't be used because of it. Otherwise, only a part is left out.
    """

    file: str
    key: str
    reason: str
    line: int | None = None
    is_fatal: bool = True

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.key}: {self.reason}" if self.key else f"{place}: {self.reason}"


class Table:
    """A table of a file. Take its keys one by one, and then refuse the rest."""

    def __init__(
        self, file: str, key: str, values: Mapping[str, Any], problems: list[Problem], lines: Lines, shown: str = ""
    ) -> None:
        """Read a table.

        Args:
            file: its file.
            key: its path, such as `grant[0]`.
            values: its keys and values.
            problems: gets each problem.
            lines: the places of the file's keys.
            shown: its path in messages, if this is another one.
        """
        self.file = file
        self._key = key
        self._values = dict(values)
        self._problems = problems
        self._lines = lines
        self._shown = shown or key
        self._known: set[str] = set()

    def complain(self, key: str, reason: str, *, is_fatal: bool = True) -> None:
        """Note a problem with a key of this table."""
        shown = f"{self._shown}.{key}".strip(".")
        self._problems.append(Problem(self.file, shown, reason, self._lines.of(self._path(key)), is_fatal))

    def _path(self, key: str) -> str:
        return f"{self._key}.{key}".strip(".")

    def __contains__(self, key: str) -> bool:
        self._known.add(key)
        return key in self._values

    def peek(self, key: str) -> object:
        """Return the value of a key without taking it, or None."""
        return self._values.get(key)

    def take(self, key: str, expected: type[_T], default: _T) -> _T:
        """Take the value of a key. A value of another type is a problem, and the result is `default`."""
        self._known.add(key)
        value = self._values.pop(key, default)
        if type(value) is not expected:
            self.complain(key, f"must be {_TYPE_NAMES[expected]}, not {show(value)}")
            return default
        return default if self._has_nul(key, value) else value

    def take_number(self, key: str, low: int, high: int, default: int) -> int:
        """Take a number of low..high."""
        value = self.take(key, int, default)
        if not low <= value <= high:
            self.complain(key, f"must be {low}..{high}, not {show(value)}")
            return default
        return value

    def take_strings(self, key: str) -> list[str]:
        """Take a list of strings."""
        return [value for value in self.take_items(key, (str,)) if isinstance(value, str)]

    def take_items(self, key: str, expected: tuple[type, ...]) -> list[str | int]:
        """Take a list with items of these types. Each other item is a problem."""
        kept: list[str | int] = []
        for value in self.take(key, list, []):
            if type(value) not in expected:
                wanted = " or ".join(f"{_TYPE_NAMES[one].removeprefix('a ')}s" for one in expected)
                advice = ": put it in quotes" if type(value) is int else ""
                self.complain(key, f"must be a list of {wanted}, but it has {show(value)}{advice}")
            elif not self._has_nul(key, value):
                kept.append(value)
        return kept

    def take_parsed(self, key: str, parse: Callable[[str], _T]) -> tuple[_T, ...]:
        """Take a list of strings, and parse each one. A ValueError of `parse` is a problem."""
        parsed: list[_T] = []
        for text in self.take_strings(key):
            try:
                parsed.append(parse(text))
            except ValueError as error:
                self.complain(key, str(error))
        return tuple(parsed)

    def take_table(self, key: str) -> Table:
        """Take a table within this one."""
        shown = f"{self._shown}.{key}".strip(".")
        return Table(self.file, self._path(key), self.take(key, dict, {}), self._problems, self._lines, shown)

    def take_tables(self, key: str) -> list[Table]:
        """Take an array of tables. Messages show the name of each that has a name."""
        tables = self.take(key, list, [])
        if not all(type(values) is dict for values in tables):
            self.complain(key, f"must be written as [[{key}]]")
            return []
        return [
            Table(self.file, f"{key}[{i}]", values, self._problems, self._lines, _name_entry(key, i, values))
            for i, values in enumerate(tables)
        ]

    def refuse_the_rest(self) -> None:
        """Note each key that was not taken."""
        for key in self._values:
            advice = did_you_mean(key, self._known) or "correct its spelling or its place, or remove it"
            self.complain(key, f"unknown key: {advice}")

    def _has_nul(self, key: str, value: object) -> bool:
        """Note a text with a NUL, because no file, user or interface can have this name."""
        has_nul = isinstance(value, str) and "\0" in value
        if has_nul:
            self.complain(key, f"{show(value)} contains a NUL character: remove it")
        return has_nul


def show(value: object) -> str:
    """Return a value for a message, cut to `_MOST_SHOWN` characters."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # dotted keys nest tables as deeply as they like, and a number has any length
        return "a value that is too large to show"
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


_TYPE_NAMES: dict[type, str] = {int: "a number", str: "a string", list: "a list", dict: "a table"}


def _name_entry(key: str, index: int, values: Mapping[str, Any]) -> str:
    name = values.get("name")
    return f"{key} {name!r}" if isinstance(name, str) and 0 < len(name) <= MAX_NAME_CHARACTERS else f"{key}[{index}]"


def did_you_mean(word: str, known: Collection[str]) -> str:
    """Return a question that names the most similar known word, or "" if no word is similar."""
    similar = difflib.get_close_matches(word, sorted(known), 1)
    return f"did you mean {similar[0]!r}?" if similar else ""
