"""Runs attacks and prints their tables. See tests/attack/run."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

from .arena import why_not
from .load import load_everything
from .registry import ATTACKS
from .table import as_text, missed
from .trial import Outcome, Version, measure

README = Path(__file__).parent / "README.md"
BEGIN, END = "<!-- measured -->\n", "\n<!-- end -->"
SECONDS, ROUNDS = 1.4, 5


def main() -> int:
    arguments = _parse()
    # So that everything is removed then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if reason := why_not():
        print(f"tests/attack/run: {reason}", file=sys.stderr)
        return 1
    load_everything()
    versions = [Version("new", None)] + ([Version("old", arguments.old.resolve())] if arguments.old else [])
    outcomes: list[Outcome] = []
    start = time.monotonic()
    for attack in ATTACKS:
        if arguments.names and attack.name not in arguments.names:
            continue
        if reason := attack.why_not():
            print(f"skipped: {attack.name}: {reason}")
            continue
        print(f"{time.monotonic() - start:5.0f} s: {attack.name}", file=sys.stderr, flush=True)
        outcomes += (measured := measure(attack, versions, arguments.seconds, arguments.rounds))
        for outcome in measured:
            print(f"         {outcome.version}: {'; '.join(missed(outcome)) or 'reached'}", file=sys.stderr, flush=True)
    text = as_text(outcomes)
    print(text)
    if arguments.table:
        before, _, rest = README.read_text().partition(BEGIN)
        README.write_text(before + BEGIN + text + END + rest.partition(END)[2])
        print(f"written: {README}")
    return int(any(missed(outcome) for outcome in outcomes if outcome.version == "new"))


def _parse() -> argparse.Namespace:
    # tests/attack/run explains them, because it answers --help before it installs anything.
    parser = argparse.ArgumentParser(prog="tests/attack/run", add_help=False)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--old", type=Path, metavar="CHECKOUT")
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    known = [attack.name for attack in ATTACKS]
    if unknown := [name for name in arguments.names if name not in known]:
        parser.error(f"there is no attack {unknown[0]!r}; there are {', '.join(map(repr, known))}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
