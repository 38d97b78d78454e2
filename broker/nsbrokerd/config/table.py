"""Strict reading of a TOML table: every key is taken once, and what is left over is a problem."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

_T = TypeVar("_T")


class Problem(NamedTuple):
    """One thing that is wrong: in which file, at which key, and why."""

    file: str
    key: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: {self.key}: {self.reason}" if self.key else f"{self.file}: {self.reason}"


class Table:
    """A table of a file from which keys are taken one by one; what is left is unknown."""

    def __init__(self, file: str, key: str, values: Mapping[str, Any], problems: list[Problem]) -> None:
        self.file = file
        self.key = key
        self._values = dict(values)
        self._problems = problems

    def complain(self, key: str, reason: str) -> None:
        """Note a problem with this key."""
        self._problems.append(Problem(self.file, f"{self.key}.{key}".strip("."), reason))

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def take(self, key: str, kind: type[_T], default: _T) -> _T:
        """Take the value of `key`; one of another type is a problem, and `default` is used."""
        value = self._values.pop(key, default)
        if type(value) is not kind:
            self.complain(key, f"must be {_TYPE_NAMES[kind]}, not {value!r}")
            return default
        if _has_nul(value):
            self.complain(key, f"{value!r} has a NUL in it")
            return default
        return value

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

    def take_items(self, key: str, kinds: tuple[type, ...]) -> list[str | int]:
        """Take a list whose items are of these types; the others are problems."""
        kept: list[str | int] = []
        for value in self.take(key, list, []):
            if _has_nul(value):
                self.complain(key, f"{value!r} has a NUL in it")
            elif type(value) in kinds:
                kept.append(value)
            else:
                self.complain(key, f"must be a list of {' or '.join(_TYPE_NAMES[kind] for kind in kinds)}; {value!r}")
        return kept

    def take_parsed(self, key: str, parse: Callable[[str], _T]) -> tuple[_T, ...]:
        """Take a list of strings, each parsed; what `parse` refuses with a ValueError is a problem."""
        parsed: list[_T] = []
        for text in self.take_strings(key):
            try:
                parsed.append(parse(text))
            except ValueError as error:
                self.complain(key, str(error))
        return tuple(parsed)

    def take_table(self, key: str) -> Table:
        """Take a table within this one."""
        return Table(self.file, f"{self.key}.{key}".strip("."), self.take(key, dict, {}), self._problems)

    def take_tables(self, key: str) -> list[Table]:
        """Take an array of tables."""
        tables = self.take(key, list, [])
        if not all(type(values) is dict for values in tables):
            self.complain(key, f"must be written as [[{key}]]")
            return []
        return [Table(self.file, f"{key}[{i}]", values, self._problems) for i, values in enumerate(tables)]

    def refuse_the_rest(self) -> None:
        """Note every key that was not taken."""
        for key in self._values:
            self.complain(key, "unknown key")


def _has_nul(value: object) -> bool:
    """Tell whether it is text that no file, user or interface can be called."""
    return isinstance(value, str) and "\0" in value


_TYPE_NAMES: dict[type, str] = {int: "a number", str: "a string", list: "a list", dict: "a table"}
