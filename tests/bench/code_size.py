"""How much code each folder has: lines without docstrings, comments and blank lines.

    python tests/bench/code_size.py [FOLDER]...       (broker and client, unless you name other folders)

A string that stands alone as a statement counts as a docstring, wherever it is. A line counts once, whatever is on it.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
_NO_CODE = frozenset({
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING,
    tokenize.ENDMARKER,
})  # fmt: skip


def code_lines(source: str) -> int:
    """Return the number of lines of a module that hold code."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - _docstring_lines(source))


def _docstring_lines(source: str) -> set[int]:
    lines: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def by_folder(root: Path) -> Counter[Path]:
    """Return the number of lines of code in each folder below `root` that holds Python files."""
    sizes: Counter[Path] = Counter()
    for path in sorted(root.rglob("*.py")):
        sizes[path.parent] += code_lines(path.read_text())
    return sizes


def main(folders: Sequence[str]) -> None:
    roots = [Path(folder).resolve() for folder in folders] or [CHECKOUT / "broker", CHECKOUT / "client"]
    total = files = 0
    for root in roots:
        for folder, lines in sorted(by_folder(root).items()):
            count = len(list(folder.glob("*.py")))
            print(f"{lines:7,}  {count:4} files  {folder.relative_to(root.parent)}")
            total, files = total + lines, files + count
    print(f"{total:7,}  {files:4} files  total")


if __name__ == "__main__":
    main(sys.argv[1:])
