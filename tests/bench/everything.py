"""All benchmarks, one after the other: prints the table, and writes it as JSON and as a plot. See tests/bench/run."""

from __future__ import annotations

import argparse
import importlib
import json
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from machine import describe
from plot import as_svg
from soak.hour import soak
from table import as_json, as_text
from turns import Row, collect

BENCHMARKS = (
    "roundtrip",
    "listeners",
    "mixed",
    "clients",
    "scale",
    "held",
    "memory",
    "datapath",
    "pyroute",
    "command",
)
"""In the order of the table. Each is a file with a function `measure`."""

SOAK_S = 3600


def main() -> int:
    arguments = _parse()
    # So that everything is removed then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if arguments.soak is not None:
        return soak(arguments.soak, arguments.output)
    machine = describe()
    rows: list[Row] = []
    lacking: dict[str, str] = {}
    failed = False
    start = time.monotonic()
    for name in arguments.row or BENCHMARKS:
        print(f"{time.monotonic() - start:5.0f} s: {name}", file=sys.stderr, flush=True)
        try:
            measured, skipped = collect(importlib.import_module(name).measure, arguments.quick)
        except Exception as error:
            # The others are still measured. The failure is in the output and in the exit status.
            traceback.print_exc()
            measured, skipped, failed = [], f"failed: {error!r}", True
        rows += measured
        if skipped:
            lacking[name] = skipped
    machine["measured in"] = f"{time.monotonic() - start:.0f} s{', a short pass' if arguments.quick else ''}"
    _report(rows, lacking, machine, arguments.output)
    return int(failed)


def _report(rows: list[Row], lacking: dict[str, str], machine: dict[str, str], output: Path | None) -> None:
    print("\n".join(f"{key}: {value}" for key, value in machine.items()))
    print(f"\n{as_text(rows)}\n")
    for name, reason in lacking.items():
        print(f"{'' if reason.startswith('failed') else 'skipped: '}{name}: {reason}")
    if output is None:
        return
    output.mkdir(parents=True, exist_ok=True)
    everything: dict[str, Any] = {"machine": machine, "rows": [as_json(row) for row in rows], "lacking": lacking}
    (output / "results.json").write_text(json.dumps(everything, indent=1) + "\n")
    (output / "results.svg").write_text(as_svg(everything["rows"], machine))
    (output / "results.md").write_text(as_text(rows) + "\n")
    print(f"written: {output}/results.json, results.md, results.svg")


def _parse() -> argparse.Namespace:
    # tests/bench/run explains them, because it answers --help before it installs anything.
    parser = argparse.ArgumentParser(prog="tests/bench/run", add_help=False)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--row", action="append", choices=BENCHMARKS)
    parser.add_argument("--output", type=Path, metavar="DIR")
    parser.add_argument("--soak", nargs="?", const=SOAK_S, type=int, metavar="SECONDS")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
