"""The benchmarks' arithmetic and what they print: rows, goals, the table, the plot, the size of the code."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from types import ModuleType
from xml.etree import ElementTree

import pytest

from support.checkout import TESTS

BENCH = str(TESTS / "bench")


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(BENCH)
    import turns

    yield turns
    for name in ("turns", "table", "plot"):
        sys.modules.pop(name, None)


def test_none_is_always_the_first(turns: ModuleType) -> None:
    """Each second round goes backwards, and the round before them is not counted."""
    order: list[str] = []

    def measure(name: str) -> float:
        order.append(name)
        return len(order)

    figures = turns.by_turns(2, a=lambda: measure("a"), b=lambda: measure("b"))
    assert "".join(order) == "ba" + "ab" + "ba"
    assert figures == {"a": [3, 6], "b": [4, 5]}


def test_the_ratio_is_taken_round_by_round(turns: ModuleType) -> None:
    """A pause that slows both down in one round does not show."""
    row = turns.compare("x", "ms", {"ours": [1, 20, 3], "bare": [2, 40, 6]}, "bare", turns.at_most(0.5), scale=1e3)
    assert row.ratio == (0.5, 0.5, 0.5)
    assert (row.ours.median, row.theirs.median) == (3000, 6000)
    assert row.reached


@pytest.mark.parametrize(
    ("sign", "limit", "of", "reached"),
    [("<=", 2, "ratio", True), ("<=", 1.9, "ratio", False), (">=", 2.1, "ratio", False), (">=", 8, "ours", True)],
)
def test_a_goal_is_about_the_median(turns: ModuleType, sign: str, limit: float, of: str, reached: bool) -> None:
    goal = turns.Goal(of, sign, limit)
    assert turns.compare("x", "", {"ours": [8], "bare": [4]}, "bare", goal).reached is reached


def test_a_skipped_row_keeps_those_before_it(turns: ModuleType) -> None:
    def measure(quick: bool) -> Iterator[object]:
        yield "row"
        raise turns.Skipped("there is no gcc")

    assert turns.collect(measure, True) == (["row"], "there is no gcc")


def test_the_table_says_what_was_missed(turns: ModuleType) -> None:
    import table

    rows = [
        turns.compare("a", "us", {"ours": [60], "c": [20]}, "c", turns.at_most(3)),
        turns.compare("b", "us", {"ours": [80], "c": [20]}, "c", turns.at_most(3), note="why"),
        turns.compare("d", "us", {"ours": [1200], "c": [20]}, "c"),
    ]
    lines = table.as_text(rows).splitlines()
    assert [line.split("|")[-2].strip() for line in lines[2:5]] == ["reached", "missed", ""]
    assert "1,200 us" in lines[4]
    assert lines[-1] == "* b: why"


MACHINE = {"processor": "p", "kernel": "k", "system": "s", "Python": "<3>"}


def widths(svg: str) -> list[float]:
    return [float(str(each.get("width"))) for each in ElementTree.fromstring(svg).iter() if each.tag.endswith("rect")]


def test_the_plot_answers_each_question_from_the_published_results(turns: ModuleType) -> None:
    """No row that a bar needs was renamed."""
    import plot

    results = json.loads((TESTS / "bench/results/results.json").read_text())
    bars = [bar for question in plot.QUESTIONS for bar in question.bars]
    svg = plot.as_svg(results["rows"], results["machine"])
    assert len(widths(svg)) == len(bars)
    assert all(question.text in svg for question in plot.QUESTIONS)
    assert svg == (TESTS / "bench/results/results.svg").read_text()


def test_bars_of_the_plot_are_as_long_as_their_figures(turns: ModuleType) -> None:
    """All bars of a question begin at zero and have one scale. Bars without a figure are left out."""
    import plot
    import table

    name, reference = "data path, question and answer", "a native socket there"
    row = table.as_json(turns.compare(name, "us", {"ours": [20], "bare": [80]}, "bare", beside=reference))
    ours, theirs = widths(plot.as_svg([row], MACHINE))
    assert theirs == pytest.approx(4 * ours, abs=0.2)
    assert widths(plot.as_svg([], MACHINE)) == []


def test_code_size_counts_lines_that_hold_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCH)
    import code_size

    source = (
        '"""A module."""\n\n# why\nNAME = (  # a name\n    1,\n)\n"""Its docstring\n\ngoes on."""\n'
        '\n\ndef f():\n    """Do."""\n'
    )
    assert code_size.code_lines(source) == 4
    assert code_size.code_lines(source + '    return """\n\n"""\n') == 7
