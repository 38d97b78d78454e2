"""Marks the files that nsbrokerd writes, to tell them from the administrator's own. Pure.

The first line names the command that wrote the file, and the digest of all other lines. So a file is ours as long as
no one has changed it, whichever version of nsbrokerd wrote it.
"""

from __future__ import annotations

import hashlib
import re

_ADVICE = "which leaves the file alone once you change it"
_FIRST = re.compile(rf"# Written by nsbrokerd \w+, {_ADVICE}: sha256 ([0-9a-f]{{64}})\n")


def mark(text: str, command: str) -> str:
    """Return a text with the mark in front. Its comments begin with "#"."""
    return f"# Written by nsbrokerd {command}, {_ADVICE}: sha256 {_digest(text)}\n{text}"


def is_unchanged(text: str) -> bool:
    """Return whether nsbrokerd wrote this text, and no one has changed it since."""
    first = _FIRST.match(text)
    return first is not None and first[1] == _digest(text[first.end() :])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
