"""The outcomes as Markdown tables: the victim's times, and the resources of the broker."""

from __future__ import annotations

from collections.abc import Sequence

from .trial import ATTACK, QUIET, SPIN, Outcome, median_ms, percentile_ms, ratio
from .victim import Samples, Times

MOST_RATIO = 2.0
MOST_P99_MS = 50.0
GROWTH_KIB = 8 * 1024
"""More resident memory than this after the attack than before is not back."""

SLACK_S = 2
"""The broker writes the numbers of lines and refusals that it left out once in a second."""

TIMES_HEAD = (
    "attack", "processes", "victim", "quiet", "beside spinners", "under attack", "ratio", "99 % quiet",
    "99 % beside spinners", "99 % under attack", "refused",
)  # fmt: skip
BROKER_HEAD = (
    "attack", "memory before, peak, after", "descriptors", "threads", "log and audit", "steps of the attackers",
    "held at most", "as before", "goals",
)  # fmt: skip


def times_of(outcome: Outcome, phase: str, kind: str) -> list[Times]:
    """Return the times of a kind of request in a phase, one for each round."""
    return [getattr(samples, kind) for samples in outcome.samples[phase]]


def _seconds(outcome: Outcome, phase: str, kind: str) -> list[list[float]]:
    return [times.seconds for times in times_of(outcome, phase, kind)]


def missed(outcome: Outcome) -> list[str]:
    """Return the goals that this outcome misses."""
    found = []
    for kind, title in (("kept", "open connection"), ("new", "new connections")):
        attacked, reference = _seconds(outcome, ATTACK, kind), _seconds(outcome, SPIN, kind)
        if not any(attacked):
            found.append(f"{title}: never served")
        elif (times := ratio(attacked, reference)) > MOST_RATIO:
            found.append(f"{title}: {number(times)}x")
        if MOST_P99_MS < (tail := percentile_ms(attacked)) < float("inf"):
            found.append(f"{title}: 99 % {number(tail)} ms")
        if failures := sum(len(times.failures) for times in times_of(outcome, ATTACK, kind)):
            found.append(f"{title}: {failures} refused")
    if outcome.back_s is None:
        found.append("not as before")
    if outcome.after.resident_kib > outcome.before.resident_kib + GROWTH_KIB:
        found.append("memory grew")
    return found + missed_quotas(outcome)


def missed_quotas(outcome: Outcome) -> list[str]:
    """Return the quotas that the attack went past."""
    found, attack = [], outcome.attack
    if attack.most_held is not None and outcome.peak.held > attack.most_held:
        found.append(f"{outcome.peak.held:,} {attack.held}, more than {attack.most_held:,}")
    written = outcome.written_bytes / 1024 / (outcome.attacked_s + SLACK_S)
    if attack.most_written_kib is not None and written > attack.most_written_kib:
        found.append(f"{number(written)} KB/s written, more than {attack.most_written_kib:,}")
    return found


def _name(outcome: Outcome, single: bool) -> str:
    return outcome.attack.name if single else f"{outcome.attack.name}, {outcome.version}"


def times_rows(outcome: Outcome, single: bool) -> list[tuple[str, ...]]:
    """Return the two rows of the victim: on an open connection, and by new ones."""
    rows = []
    for kind, title in zip(Samples._fields, ("open connection", "new connections"), strict=True):
        quiet, spin, attacked = (_seconds(outcome, phase, kind) for phase in (QUIET, SPIN, ATTACK))
        failures = sum(len(times.failures) for times in times_of(outcome, ATTACK, kind))
        asked = failures + sum(map(len, attacked))
        rows.append(
            (
                _name(outcome, single) if kind == "kept" else "",
                str(outcome.attack.processes) if kind == "kept" else "",
                title,
                *(milliseconds(median_ms(one)) for one in (quiet, spin, attacked)),
                times_as_text(ratio(attacked, spin)),
                *(milliseconds(percentile_ms(one)) for one in (quiet, spin, attacked)),
                f"{failures} of {asked:,}",
            )
        )
    return rows


def broker_row(outcome: Outcome, single: bool) -> tuple[str, ...]:
    """Return the row of the broker's resources, and of the goals."""
    before, peak, after = outcome.before, outcome.peak, outcome.after
    attack, seconds = outcome.attack, outcome.attacked_s or 1
    return (
        _name(outcome, single),
        ", ".join(f"{look.resident_kib / 1024:.0f}" for look in (before, peak, after)) + " MB",
        f"{before.descriptors}, {peak.descriptors:,}, {after.descriptors}",
        f"{before.threads}, {peak.threads}, {after.threads}",
        f"{number(outcome.written_bytes / 1024 / seconds)} KB/s",
        f"{_steps(outcome, seconds)} {attack.step}",
        f"{peak.held:,} {attack.held}" if attack.held else "",
        "no" if outcome.back_s is None else f"after {outcome.back_s:.1f} s",
        "reached" if not (not_reached := missed(outcome)) else "missed: " + "; ".join(not_reached),
    )


def _steps(outcome: Outcome, seconds: float) -> str:
    """Write the attackers' steps in a second, or all of them if they came before the victim asked."""
    if outcome.steps_meanwhile:
        return f"{number(outcome.steps_meanwhile / seconds)}/s"
    return f"{outcome.steps:,}"


def milliseconds(value: float) -> str:
    return "never" if value == float("inf") else f"{number(value)} ms"


def times_as_text(value: float) -> str:
    return "" if value == float("inf") else f"{number(value)}x"


def as_text(outcomes: Sequence[Outcome]) -> str:
    """Return both tables."""
    single = len({outcome.version for outcome in outcomes}) < 2
    times = [TIMES_HEAD, *(row for outcome in outcomes for row in times_rows(outcome, single))]
    brokers = [BROKER_HEAD, *(broker_row(outcome, single) for outcome in outcomes)]
    return f"{_aligned(times)}\n\n{_aligned(brokers)}"


def _aligned(cells: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def number(value: float) -> str:
    """Write a figure with three digits, or all of a large one's."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
