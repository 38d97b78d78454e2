"""The table of guarantees in broker/ARCHITECTURE.md: read, compared and brought up to date."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from .guarantee import Guarantee

ARCHITECTURE = "broker/ARCHITECTURE.md"
_PREFIX = "g-"
_ROW = re.compile(r"^\| *`g-([a-z0-9-]+)` *\|([^|]*)\|([^|]*)\|([^|]*)\|$", re.MULTILINE)
_CODE = re.compile(r"`([^`]+)`")


class Row(NamedTuple):
    """A row of the table: the files that enforce a guarantee, and the files of the tests that guard it."""

    files: tuple[str, ...]
    tests: tuple[str, ...]


def row_of(guarantee: Guarantee) -> Row:
    """Return the row that a guarantee should have."""
    return Row(guarantee.files, guarantee.tests)


def read_table(text: str) -> dict[str, Row]:
    """Return the rows of the table, by the ids of their guarantees."""
    return {row[1]: Row(tuple(_CODE.findall(row[3])), tuple(_CODE.findall(row[4]))) for row in _ROW.finditer(text)}


def read_sentences(text: str) -> dict[str, str]:
    """Return the sentence of each guarantee in the table, by its id."""
    return {row[1]: row[2].strip() for row in _ROW.finditer(text)}


def update_table(text: str, guarantees: Sequence[Guarantee]) -> str:
    """Return the text with the right files in each row.

    The sentences stay. A new guarantee gets a row at the end, without a sentence: write it there.

    Raises:
        ValueError: the text has no table.
    """
    known = {one.id: one for one in guarantees}
    rows = list(_ROW.finditer(text))
    if not rows:
        raise ValueError(f"{ARCHITECTURE} has no table of guarantees")
    lines = [_line(known[row[1]], row[2].strip()) for row in rows if row[1] in known]
    written = {row[1] for row in rows}
    lines += [_line(one, "") for one in guarantees if one.id not in written]
    return text[: rows[0].start()] + "\n".join(lines) + text[rows[-1].end() :]


def _line(guarantee: Guarantee, sentence: str) -> str:
    files, tests = (", ".join(f"`{path}`" for path in paths) for paths in row_of(guarantee))
    return f"| `{_PREFIX}{guarantee.id}` | {sentence} | {files} | {tests} |"
