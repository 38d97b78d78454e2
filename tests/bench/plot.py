"""The answers to a user's five questions as one picture, in SVG.

    python tests/bench/plot.py tests/bench/results/results.json >tests/bench/results/results.svg

The bars of a question begin at zero, and the question says which direction is better. A bar is a median, and the thin
line on it shows the quartiles. The colours suit a light and a dark page: the picture has no background, and follows the
reader's scheme.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

Result = Mapping[str, Any]
"""A row as `table.as_json` writes it."""


class Bar(NamedTuple):
    """One figure. `row` and `reference` name the row of the results, `side` the thing in it: "ours" or "theirs"."""

    label: str
    row: str
    reference: str
    side: str = "ours"
    scale: float = 1


class Question(NamedTuple):
    """A group of bars with one unit."""

    text: str
    unit: str
    better: str
    bars: tuple[Bar, ...]


_ONE_CORE, _IN_50 = "round trip p50, one core, client library", "1,200 listeners in 50 namespaces"
_BARE_C, _C_CLIENTS = "C broker without checks", "C broker without checks, C clients"
_LISTENER, _PYROUTE = "one of these listeners", "one socket, client library"
_STREAM, _ANSWER, _NATIVE = "data path, TCP stream", "data path, question and answer", "a native socket there"
_START = "its memory at the start"

QUESTIONS = (
    Question(
        "What does one socket cost?",
        "ms",
        "shorter is better",
        (
            Bar("nsbroker, without privileges", _PYROUTE, "pyroute2's create_socket, as root"),
            Bar("a minimal broker in C, without checks", _ONE_CORE, _BARE_C, "theirs", 1e-3),
            Bar("ip netns exec, as root", _LISTENER, "`ip netns exec NS true`, as root", "theirs"),
            Bar("pyroute2, as root", _PYROUTE, "pyroute2's create_socket, as root", "theirs"),
        ),
    ),
    Question(
        "What do 1,200 listeners in 50 namespaces cost?",
        "ms",
        "shorter is better",
        (
            Bar("nsbroker, without privileges", _IN_50, "Go, as root, one after the other"),
            Bar("Go, as root, one after the other", _IN_50, "Go, as root, one after the other", "theirs"),
            Bar("Go, as root, a goroutine for each", _IN_50, "Go, as root, a goroutine for each", "theirs"),
        ),
    ),
    Question(
        "Does the data path get slower? One question and answer over TCP:",
        "us",
        "shorter is better",
        (
            Bar("a socket from nsbroker", _ANSWER, _NATIVE),
            Bar("a socket made in the namespace", _ANSWER, _NATIVE, "theirs"),
        ),
    ),
    Question(
        "... and a TCP stream:",
        "MB/s",
        "longer is better",
        (
            Bar("a socket from nsbroker", _STREAM, _NATIVE),
            Bar("a socket made in the namespace", _STREAM, _NATIVE, "theirs"),
        ),
    ),
    Question(
        "How many clients can it serve? Sockets per second, all clients together:",
        "/s",
        "longer is better",
        (
            Bar("1 client", "sockets per second, 1 client", _C_CLIENTS),
            Bar("8 clients", "sockets per second, 8 clients", _C_CLIENTS),
            Bar("64 clients", "sockets per second, 64 clients", _C_CLIENTS),
            Bar("8 clients, 240 sockets in a request", "sockets per second, 8 clients, 240 in a request", _C_CLIENTS),
        ),
    ),
    Question(
        "How much memory does the broker need?",
        "MB",
        "shorter is better",
        (
            Bar("at its start", "broker's memory, 1 client", _START, "theirs"),
            Bar("with 1,000 clients", "broker's memory, 1,000 clients", _START),
            Bar("with 10,000 clients", "broker's memory, 10,000 clients", _START),
        ),
    ),
)

_WIDTH, _LEFT, _RIGHT = 820, 290, 100
_TOP, _HEAD, _BAR, _GAP = 58, 30, 24, 22
_THICK = 14

STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.small { font-size: 11px; fill: #656d76 }
.title { font-size: 17px; font-weight: 600 }
.question { font-size: 14px; font-weight: 600 }
.right { text-anchor: end }
.ours { fill: #0969da }
.theirs { fill: #afb8c1 }
.spread { stroke: #24292f; stroke-width: 1.5; stroke-opacity: .6 }
.zero { stroke: #8c959f; stroke-opacity: .6 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .small { fill: #9198a1 }
  .ours { fill: #4493f8 }
  .theirs { fill: #656c76 }
  .spread { stroke: #e6edf3 }
}
"""


def as_svg(rows: Sequence[Result], machine: Mapping[str, str]) -> str:
    """Draw each question that the rows answer. A bar whose row was not measured is left out."""
    found = {(row["name"], row["reference"] or ""): row for row in rows}
    parts = [text(0, 18, "What nsbroker costs", "title"), text(0, 38, _measured_on(machine), "small")]
    y = _TOP
    for question in QUESTIONS:
        bars = [(bar, found[bar.row, bar.reference]) for bar in question.bars if (bar.row, bar.reference) in found]
        if bars:
            parts += _draw(question, [(bar, _figures(bar, row)) for bar, row in bars], y)
            y += _HEAD + _BAR * len(bars) + _GAP
    size = f'width="{_WIDTH}" height="{y}" viewBox="0 0 {_WIDTH} {y}"'
    inside = "\n".join([f"<style>{STYLE}</style>", "<title>What nsbroker costs</title>", *parts])
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n{inside}\n</svg>\n'


def _measured_on(machine: Mapping[str, str]) -> str:
    python = machine["Python"].partition(" ")[0]
    places = (machine["processor"], machine["kernel"], machine["system"], f"Python {python}")
    return f"Blue: nsbroker. Grey: another way. Measured on {'; '.join(places)}"


def _figures(bar: Bar, row: Result) -> tuple[float, float, float]:
    """Return the lower quartile, the median and the upper quartile."""
    low, median, high = (row[bar.side][key] * bar.scale for key in ("low", "median", "high"))
    return low, median, high


def _draw(question: Question, bars: Sequence[tuple[Bar, tuple[float, float, float]]], y: int) -> Iterator[str]:
    yield text(0, y + 12, question.text, "question")
    yield text(_WIDTH, y + 12, question.better, "small right")
    per_unit = (_WIDTH - _LEFT - _RIGHT) / max(high for _, (_, _, high) in bars)
    y += _HEAD
    yield f'<line x1="{_LEFT}" y1="{y - 4}" x2="{_LEFT}" y2="{y + _BAR * len(bars) - 4}" class="zero"/>'
    for bar, (low, median, high) in bars:
        middle = y + _THICK / 2
        yield text(_LEFT - 10, y + 12, bar.label, "right")
        width = max(1, median * per_unit)
        yield f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_THICK}" class="{_colour(bar)}"/>'
        ends = f'x1="{_LEFT + low * per_unit:.1f}" x2="{_LEFT + high * per_unit:.1f}"'
        yield f'<line {ends} y1="{middle}" y2="{middle}" class="spread"/>'
        yield text(_LEFT + high * per_unit + 8, y + 12, f"{number(median)} {question.unit}")
        y += _BAR


def _colour(bar: Bar) -> str:
    return "ours" if bar.side == "ours" or bar.reference == _START else "theirs"


def number(value: float) -> str:
    """Return a number with as many digits as a reader needs."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}" if value < 1 else f"{value:.3g}"


def text(x: float, y: float, words: str, classes: str = "") -> str:
    """Write words at a place."""
    return f'<text x="{x:.1f}" y="{y}" class="{classes}">{escape(words)}</text>'


if __name__ == "__main__":
    results = json.loads(Path(sys.argv[1]).read_text())
    sys.stdout.write(as_svg(results["rows"], results["machine"]))
