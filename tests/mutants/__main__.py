"""Tries all mutants, or those of some guarantees, and says which survived: `tests/run --mutants [ID...]`."""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter
from pathlib import Path

from .documents import ARCHITECTURE, PROMISING, SECURITY, promise_rows, read_sentences, update_promises, update_table
from .everything import GUARANTEES, named_mutants
from .trying import Result, UnchangedError, Verdict, try_all

CHECKOUT = Path(__file__).resolve().parents[2]


def _tell(result: Result) -> None:
    print(f"{result.verdict.value:<10} {result.name} ({result.seconds:.1f} s)", flush=True)


def _is_meant(known: str, names: list[str]) -> bool:
    """Return whether a mutant is one of these: a guarantee means all of its mutants."""
    return known in names or known.rpartition(".")[0] in names


def main(names: list[str]) -> int:
    """Try mutants, or bring the tables of the documents up to date for `--update-table`. Return the exit status.

    Args:
        names: of guarantees, or of single mutants; none for all.
    """
    if names == ["--update-table"]:
        document = CHECKOUT / ARCHITECTURE
        document.write_text(update_table(document.read_text(), GUARANTEES))
        rows = promise_rows({path: (CHECKOUT / path).read_text() for path in PROMISING}, GUARANTEES)
        security = CHECKOUT / SECURITY
        security.write_text(update_promises(security.read_text(), rows))
        return 0
    named = named_mutants()
    if unknown := [name for name in names if not any(_is_meant(known, [name]) for known in named)]:
        print(f"no such guarantee: {', '.join(unknown)}; there are {', '.join(one.id for one in GUARANTEES)}")
        return 2
    chosen = {known: mutant for known, mutant in named.items() if not names or _is_meant(known, names)}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    began = time.monotonic()
    try:
        results = try_all(CHECKOUT, chosen, _tell)
    except UnchangedError as error:
        print(error)
        return 1
    sentences = read_sentences((CHECKOUT / ARCHITECTURE).read_text())
    for result in results:
        if result.verdict is not Verdict.KILLED:
            guarantee = next(one for one in GUARANTEES if result.mutant in one.mutants)
            print(f"\n{result.name} {result.verdict.value}: {sentences[guarantee.id]}")
            print(f"{result.mutant.file}: {result.reason}")
    counts = Counter(result.verdict for result in results)
    told = ", ".join(f"{counts[verdict]} {verdict.value}" for verdict in Verdict if counts[verdict])
    print(f"\n{len(results)} mutants in {time.monotonic() - began:.0f} s: {told}")
    return 0 if counts[Verdict.KILLED] == len(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
