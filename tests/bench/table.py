"""Rows as text, in a Markdown table with aligned columns, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from turns import Goal, Row, Spread

_HEAD = ("what", "ours", "beside it", "", "ratio", "quartiles", "goal", "")


def as_text(rows: Sequence[Row]) -> str:
    """Return the table, without a line feed at its end."""
    cells = [_HEAD, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    notes = [f"* {row.name}: {row.note}" for row in rows if row.note]
    return "\n".join([*lines, *([""] if notes else []), *notes])


def _cells(row: Row) -> tuple[str, ...]:
    shown = row.ratio or row.ours
    return (
        row.name,
        f"{number(row.ours.median)} {row.unit}",
        f"{number(row.theirs.median)} {row.unit}" if row.theirs else "",
        row.reference,
        f"{number(row.ratio.median)}x" if row.ratio else "",
        f"{number(shown.low)} .. {number(shown.high)}",
        goal_text(row.goal, row.unit),
        {None: "", True: "reached", False: "missed"}[row.reached],
    )


def goal_text(goal: Goal | None, unit: str) -> str:
    """Return the goal as text, for example "<= 3x"."""
    if goal is None:
        return ""
    return f"{goal.sign} {number(goal.limit)}" + ("x" if goal.of == "ratio" else f" {unit}")


def number(value: float) -> str:
    """Write a figure with three digits, or all of a large one's."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def as_json(row: Row) -> dict[str, Any]:
    """Return everything of a row."""
    return {
        "name": row.name,
        "unit": row.unit,
        "ours": _spread(row.ours),
        "reference": row.reference or None,
        "theirs": _spread(row.theirs),
        "ratio": _spread(row.ratio),
        "goal": goal_text(row.goal, row.unit) or None,
        "reached": row.reached,
        "note": row.note or None,
    }


def _spread(values: Spread | None) -> dict[str, float] | None:
    return None if values is None else {key: float(f"{value:.6g}") for key, value in values._asdict().items()}
