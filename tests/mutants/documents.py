"""The guarantees in the documents: the table of broker/ARCHITECTURE.md, and the places that links lead to."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from .guarantee import Guarantee

ARCHITECTURE = "broker/ARCHITECTURE.md"
_PREFIX = "g-"
_ROW = re.compile(r"^\| *`(g-[a-z0-9-]+)` *\|([^|]*)\|([^|]*)\|([^|]*)\|", re.MULTILINE)
_ANCHOR = re.compile(r'<a id="(g-[a-z0-9-]+)"></a>')
_CODE = re.compile(r"`([^`]+)`")
_HEAD = "| id | guarantee | enforced in | guarded by |\n|---|---|---|---|\n"


def write_table(guarantees: Iterable[Guarantee]) -> str:
    """Return the table of guarantees, as broker/ARCHITECTURE.md has it."""
    return _HEAD + "".join(
        f"| `{_PREFIX}{one.id}` | {one.text} | {_codes(one.files)} | {_codes(one.tests)} |\n" for one in guarantees
    )


def _codes(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def read_table(text: str) -> dict[str, tuple[str, ...]]:
    """Return the ids of the table's rows, without their prefix, and the files that enforce each."""
    return {row[1].removeprefix(_PREFIX): tuple(_CODE.findall(row[3])) for row in _ROW.finditer(text)}


def read_anchors(checkout: Path) -> dict[str, list[str]]:
    """Return the ids that links of the documents can lead to, without their prefix, and the documents of each."""
    found: dict[str, list[str]] = {}
    for document in (checkout / "README.md", *(path for room in _ROOMS for path in (checkout / room).rglob("*.md"))):
        for name in _ANCHOR.findall(document.read_text()):
            found.setdefault(name.removeprefix(_PREFIX), []).append(str(document.relative_to(checkout)))
    return found


_ROOMS = ("broker", "client", "deploy")
