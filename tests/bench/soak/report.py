"""The report of the soak: printed, and written as JSON, as a table and as curves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from machine import describe

from .curves import as_svg
from .looks import Look, Verdict

_SHOWN = 10
"""Of thousands of faults, the first ones say enough."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything that was seen.

    Attributes:
        counts: the clients' observations.
        changes: around them.
        steps: of the attackers.
        wrong: sockets and refusals that were wrong, and attacks that ended by themselves.
        lost: calls that failed.
        looks: one for each period.
        verdicts: whether memory and descriptors grew.
        lacking: parts of the soak that this machine can't have.
    """

    seconds: float
    counts: Mapping[str, int]
    changes: Mapping[str, int]
    steps: Mapping[str, int]
    wrong: Sequence[str]
    lost: Sequence[str]
    looks: Sequence[Look]
    verdicts: Sequence[Verdict]
    lacking: Sequence[str]

    @property
    def is_right(self) -> bool:
        return not self.wrong and not self.lost and not any(one.grew for one in self.verdicts)


def show(outcome: Outcome) -> None:
    """Print it."""
    print("\n".join(_lines(outcome)))


def _lines(outcome: Outcome) -> Iterator[str]:
    yield f"soak of {outcome.seconds:.0f} s"
    for figures in (outcome.counts, outcome.changes, outcome.steps):
        yield ", ".join(f"{count:,} {what}" for what, count in figures.items())
    yield from (f"skipped: {text}" for text in outcome.lacking)
    yield f"wrong: {len(outcome.wrong)}; lost: {len(outcome.lost)}"
    for texts in (outcome.wrong, outcome.lost):
        yield from (f"  {text}" for text in texts[:_SHOWN])
    yield from (f"  {one}" for one in outcome.verdicts)
    yield "all is right" if outcome.is_right else "NOT all is right"


def write(outcome: Outcome, output: Path) -> None:
    """Write soak.json, soak.md and soak.svg."""
    output.mkdir(parents=True, exist_ok=True)
    # The load that `describe` names is the soak's own by now.
    machine = {key: value for key, value in describe().items() if key != "load before"}
    everything: dict[str, Any] = {"machine": machine, **asdict(outcome)}
    everything["looks"] = [look._asdict() for look in outcome.looks]
    everything["verdicts"] = [one._asdict() for one in outcome.verdicts]
    (output / "soak.json").write_text(json.dumps(everything, indent=1) + "\n")
    (output / "soak.md").write_text(as_table(everything))
    (output / "soak.svg").write_text(as_svg(everything))
    print(f"written: {output}/soak.json, soak.md, soak.svg")


def as_table(soak: Mapping[str, Any]) -> str:
    """Return the figures of soak.json as tables of Markdown."""
    lines = [
        "| | figure |",
        "|---|---:|",
        f"| **wrong** | {len(soak['wrong'])} |",
        f"| **lost** | {len(soak['lost'])} |",
    ]
    for group in ("counts", "changes", "steps"):
        lines += [f"| {what} | {count:,} |" for what, count in soak[group].items()]
    lines += ["", "| | beginning | end | least | most | |", "|---|---:|---:|---:|---:|---|"]
    for one in soak["verdicts"]:
        figures = " | ".join(f"{one[key]:.1f}" for key in ("first", "last", "low", "high"))
        lines.append(f"| {one['what']} | {figures} | {'grew' if one['grew'] else 'flat'} |")
    lines += [f"\nSkipped: {text}" for text in soak["lacking"]]
    return "\n".join(lines) + "\n"
