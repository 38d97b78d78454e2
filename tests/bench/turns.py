"""The harness of all benchmarks: things take turns in one run, and are compared as ratios.

A machine's speed changes from minute to minute, but the ratio of two things that took turns hardly does. A benchmark is
a file with one function, and can be run by itself or by tests/bench/run:

    def measure(quick: bool) -> Iterator[Row]:
        figures = by_turns(5 if quick else 30, ours=lambda: seconds_of_ours(), bare=lambda: seconds_of_bare())
        yield compare("start-up of X", "ms", figures, "bare", at_most(2.5), beside="python3 -I -c pass", scale=1e3)

    if __name__ == "__main__":
        main(measure)

A measuring function takes no argument, does its work once or many times, and returns one figure: the median of many, or
a rate. `Skipped` says why a row can't be measured here.
"""

from __future__ import annotations

import signal
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

Figures = Mapping[str, Sequence[float]]
"""For each thing that was measured its figures, one for each round."""


class Skipped(Exception):
    """A row can't be measured here, with the reason."""


class Spread(NamedTuple):
    """Median and quartiles."""

    low: float
    median: float
    high: float


class Goal(NamedTuple):
    """The goal for the median of "ratio" or "ours". `sign` is "<=" or ">="."""

    of: str
    sign: str
    limit: float

    def is_reached(self, value: float) -> bool:
        return value <= self.limit if self.sign == "<=" else value >= self.limit


class Row(NamedTuple):
    """One line of the table. `reference` names the thing beside ours. Without it there is no ratio."""

    name: str
    unit: str
    ours: Spread
    reference: str = ""
    theirs: Spread | None = None
    ratio: Spread | None = None
    goal: Goal | None = None
    note: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached, or None without a goal."""
        if self.goal is None:
            return None
        value = self.ratio if self.goal.of == "ratio" else self.ours
        return value is not None and self.goal.is_reached(value.median)


Measure = Callable[[bool], Iterator[Row]]
"""A benchmark: it measures, with a short pass if its argument is true, and yields its rows."""


def at_most(limit: float, of: str = "ratio") -> Goal:
    return Goal(of, "<=", limit)


def at_least(limit: float, of: str = "ratio") -> Goal:
    return Goal(of, ">=", limit)


def spread(values: Sequence[float], scale: float = 1) -> Spread:
    """Return median and quartiles of the values, each multiplied by `scale`."""
    if len(values) < 2:
        return Spread(*(scale * values[0] for _ in range(3)))
    low, median, high = statistics.quantiles((scale * value for value in values), n=4, method="inclusive")
    return Spread(low, median, high)


def by_turns(rounds: int, **measures: Callable[[], float]) -> dict[str, list[float]]:
    """Measure one after the other, `rounds` times, each second round backwards, so that the first place alternates.

    A round before them is not counted: it fills caches.
    """
    figures: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(rounds + 1):
        for name in list(measures)[:: 1 if number % 2 else -1]:
            figure = measures[name]()
            if number:
                figures[name].append(figure)
    return figures


def compare(
    name: str,
    unit: str,
    figures: Figures,
    reference: str,
    goal: Goal | None = None,
    *,
    beside: str = "",
    ours: str = "ours",
    scale: float = 1,
    note: str = "",
) -> Row:
    """Make a row of two of the things measured: `ours` divided by `reference`, round by round.

    Args:
        name: the name of the measured thing.
        unit: of the figures, times `scale`.
        figures: the result of `by_turns`.
        reference: the key of the other thing.
        goal: of the ratio or of ours.
        beside: the name of the other thing in the table. The default is its key.
        ours: the key of ours.
        scale: the factor from the figures to the unit.
        note: anything that a reader must know.
    """
    ratios = [mine / other for mine, other in zip(figures[ours], figures[reference], strict=True)]
    mine, other = spread(figures[ours], scale), spread(figures[reference], scale)
    return Row(name, unit, mine, beside or reference, other, spread(ratios), goal, note)


def collect(measure: Measure, quick: bool) -> tuple[list[Row], str]:
    """Run a benchmark, and return its rows and the reason if some are missing."""
    rows: list[Row] = []
    try:
        for row in measure(quick):
            rows.append(row)
    except Skipped as reason:
        return rows, str(reason)
    return rows, ""


def main(measure: Measure) -> None:
    """Run one benchmark by itself and print its table: `python FILE [--quick]`."""
    from table import as_text  # that one knows about rows

    # So that everything is removed then, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    rows, skipped = collect(measure, "--quick" in sys.argv[1:])
    print(as_text(rows))
    if skipped:
        print(f"skipped: {skipped}")
