"""Strict reading of a TOML table: each key is taken once, and each key that is left over is a problem."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

_T = TypeVar("_T")


class Problem(NamedTuple):
    """One problem of a configuration: the file, the key (or ""), and the reason with the remedy."""

    file: str
    key: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: {self.key}: {self.reason}" if self.key else f"{self.file}: {self.reason}"


class Table:
    """A table of a file. Take its keys one by one, and then refuse the rest."""

    def __init__(self, file: str, key: str, values: Mapping[str, Any], problems: list[Problem]) -> None:
        """Read `values` at the place `key` of a file. Add each problem to `problems`."""
        self.file = file
        self._key = key
        self._values = dict(values)
        self._problems = problems

    def complain(self, key: str, reason: str) -> None:
        """Note a problem with a key of this table."""
        self._problems.append(Problem(self.file, self._path(key), reason))

    def _path(self, key: str) -> str:
        return f"{self._key}.{key}".strip(".")

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def take(self, key: str, expected: type[_T], default: _T) -> _T:
        """Take the value of a key. A value of another type is a problem, and the result is `default`."""
        value = self._values.pop(key, default)
        if type(value) is not expected:
            self.complain(key, f"must be {_TYPE_NAMES[expected]}, not {value!r}")
            return default
        return default if self._has_nul(key, value) else value

    def take_number(self, key: str, low: int, high: int, default: int) -> int:
        """Take a number of low..high."""
        value = self.take(key, int, default)
        if not low <= value <= high:
            self.complain(key, f"must be {low}..{high}, not {value}")
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
                self.complain(key, f"must be a list of {wanted}, but it has {value!r}")
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
        return Table(self.file, self._path(key), self.take(key, dict, {}), self._problems)

    def take_tables(self, key: str) -> list[Table]:
        """Take an array of tables."""
        tables = self.take(key, list, [])
        if not all(type(values) is dict for values in tables):
            self.complain(key, f"must be written as [[{key}]]")
            return []
        return [Table(self.file, f"{key}[{i}]", values, self._problems) for i, values in enumerate(tables)]

    def refuse_the_rest(self) -> None:
        """Note each key that was not taken."""
        for key in self._values:
            self.complain(key, "unknown key: correct its spelling or its place, or remove it")

    def _has_nul(self, key: str, value: object) -> bool:
        """Note a text with a NUL, because no file, user or interface can have this name."""
        has_nul = isinstance(value, str) and "\0" in value
        if has_nul:
            self.complain(key, f"{value!r} contains a NUL character: remove it")
        return has_nul


_TYPE_NAMES: dict[type, str] = {int: "a number", str: "a string", list: "a list", dict: "a table"}
