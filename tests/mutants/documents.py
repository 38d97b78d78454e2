"""The tables of guarantees in broker/ARCHITECTURE.md and deploy/docs/security.md: read, and brought up to date."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from .guarantee import Guarantee

ARCHITECTURE = "broker/ARCHITECTURE.md"
SECURITY = "deploy/docs/security.md"
PROMISING = (
    SECURITY,
    "deploy/docs/policy.md",
    "deploy/docs/limits.md",
    "deploy/docs/operation.md",
    "deploy/docs/kubernetes.md",
)
"""The documents whose guarantees are promises of the broker, in the order of the table in SECURITY."""

_PREFIX = "g-"
_ROW = re.compile(r"^\| *`g-([a-z0-9-]+)` *\|([^|]*)\|([^|]*)\|([^|]*)\|$", re.MULTILINE)
_ANCHOR = re.compile(r'<a id="g-([a-z0-9-]+)">')
_PROMISES_HEAD = "| promise | tests |\n|---|---|\n"
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


def promise_rows(texts: Mapping[str, str], guarantees: Sequence[Guarantee]) -> str:
    """Return the rows of the table in SECURITY: each guarantee of the texts, and the tests that its mutants name.

    Args:
        texts: by their paths, documents with anchors of guarantees.
        guarantees: those without an anchor in the texts are left out.
    """
    known = {one.id: one for one in guarantees}
    return "".join(
        f"| {_link(anchor, path, f'#{_PREFIX}{anchor}')} | {', '.join(_test_links(known[anchor]))} |\n"
        for path, text in texts.items()
        for anchor in _ANCHOR.findall(text)
        if anchor in known
    )


def update_promises(text: str, rows: str) -> str:
    """Return the text of SECURITY with these rows at its end.

    Raises:
        ValueError: the text has no such table.
    """
    before, head, _ = text.partition(_PROMISES_HEAD)
    if not head:
        raise ValueError(f"{SECURITY} has no table of promises")
    return before + head + rows


def _test_links(guarantee: Guarantee) -> list[str]:
    nodes = dict.fromkeys(test.partition("[")[0] for mutant in guarantee.mutants for test in mutant.tests)
    return [_link(test.rpartition("::")[2].rpartition("/")[2], test.partition("::")[0]) for test in nodes]


def _link(name: str, path: str, anchor: str = "") -> str:
    """Return a link from SECURITY to a file of the checkout, or to an anchor in it."""
    here = PurePosixPath(SECURITY).parent
    if path == SECURITY:
        target = ""
    elif PurePosixPath(path).parent == here:
        target = PurePosixPath(path).name
    else:
        target = "../" * len(here.parts) + path
    return f"[`{name}`]({target}{anchor})"
