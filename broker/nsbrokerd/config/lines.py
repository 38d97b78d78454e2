"""Finds the line of a key in a TOML text, for messages. Pure.

The TOML parser of Python reports no lines. This module knows only the forms that people write: a header on a line of
its own, and one key on a line. For other forms, it finds the header or nothing.
"""

from __future__ import annotations

import re

_HEADER = re.compile(r"""\s*(\[{1,2})\s*([^\[\]#]+?)\s*\]{1,2}\s*(?:\#.*)?$""")
_KEY = re.compile(r"""\s*["']?([\w-]+)["']?\s*(?:\.[^=]*)?=""")


class Lines:
    """The places of headers and keys. A header of an array counts as `name[number]`."""

    def __init__(self, text: str) -> None:
        """Look for headers and keys."""
        self._line_of: dict[str, int] = {}
        section = ""
        counts: dict[str, int] = {}
        for number, line in enumerate(text.splitlines(), 1):
            if header := _HEADER.match(line):
                section = header[2]
                if header[1] == "[[":
                    counts[section] = counts.get(section, -1) + 1
                array, dot, rest = section.partition(".")
                if array in counts:
                    section = f"{array}[{counts[array]}]{dot}{rest}"
                self._line_of.setdefault(section, number)
            elif key := _KEY.match(line):
                self._line_of.setdefault(f"{section}.{key[1]}".strip("."), number)

    def of(self, path: str) -> int | None:
        """Return the line of a path such as `grant[0].limit.connect`, or of the closest part around it."""
        while path:
            if path in self._line_of:
                return self._line_of[path]
            path = path.rpartition(".")[0]
        return None
