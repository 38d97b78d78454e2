"""The kept inputs: a text file for each target, with one input as a bytes literal on each line.

So a reviewer can read them, and a change of one input is a change of one line. libFuzzer wants a directory of files.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from pathlib import Path

DIRECTORY = Path(__file__).parent / "corpus"
MOST_CHARACTERS = 1200


def parse(literal: str) -> bytes:
    """Return the input of a line.

    Raises:
        ValueError, SyntaxError: the line is no bytes literal.
    """
    data = ast.literal_eval(literal)
    if not isinstance(data, bytes):
        raise ValueError(f"not a bytes literal: {literal[:60]}")
    return data


def read(name: str) -> list[bytes]:
    """Return the kept inputs of a target."""
    path = DIRECTORY / f"{name}.txt"
    return [parse(line) for line in path.read_text().splitlines()] if path.exists() else []


def write(name: str, inputs: Iterable[bytes]) -> None:
    """Keep these inputs, the short ones first. Longer lines than a reviewer would read are left out."""
    lines = [ascii(data) for data in sorted(set(inputs), key=lambda data: (len(data), data))]
    (DIRECTORY / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines if len(line) <= MOST_CHARACTERS))


def unpack(inputs: Iterable[bytes], directory: Path) -> Path:
    """Write each input into a file of its own in a new directory."""
    directory.mkdir()
    for data in inputs:
        (directory / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    return directory
