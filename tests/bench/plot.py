"""The rows as a picture, in SVG written by hand: each ratio a dot on a logarithmic scale, its quartiles a line.

The colours are chosen for a light and a dark page: the picture has no background, and asks for the reader's scheme.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from xml.sax.saxutils import escape

from table import goal_text, number
from turns import Row, Spread

_WIDTH, _LEFT, _RIGHT = 960, 440, 90
_TOP, _ROW, _BOTTOM = 64, 36, 34
_DECADE_MARKS = (1, 2, 5)

_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.small { font-size: 11px; fill: #656d76 }
.title { font-size: 15px; font-weight: 600 }
.right { text-anchor: end }
.middle { text-anchor: middle }
.grid { stroke: #8c959f; stroke-opacity: .25 }
.one { stroke: #656d76 }
.goal { stroke: #24292f; stroke-width: 2 }
.reached { stroke: #1a7f37; fill: #1a7f37 }
.missed { stroke: #cf222e; fill: #cf222e }
.shown { stroke: #0969da; fill: #0969da }
.spread { stroke-width: 4; stroke-linecap: round; stroke-opacity: .45 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .small { fill: #9198a1 }
  .one { stroke: #9198a1 }
  .goal { stroke: #e6edf3 }
  .reached { stroke: #3fb950; fill: #3fb950 }
  .missed { stroke: #f85149; fill: #f85149 }
  .shown { stroke: #4493f8; fill: #4493f8 }
}
"""


def as_svg(rows: Sequence[Row], machine: Mapping[str, str]) -> str:
    """Draw the rows that are ratios, from top to bottom."""
    shown = [(row, row.ratio) for row in rows if row.ratio is not None]
    height = _TOP + _ROW * len(shown) + _BOTTOM
    scale = _Scale([each for row, ratio in shown for each in (*ratio, *_goal_of(row))])
    parts = [*_axis(scale, height, machine)]
    for i, (row, ratio) in enumerate(shown):
        parts += _draw(row, ratio, _TOP + _ROW * i + _ROW // 2, scale)
    size = f'width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}"'
    title = "<title>What nsbroker costs, as ratios</title>"
    inside = "\n".join([f"<style>{_STYLE}</style>", title, *parts])
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n{inside}\n</svg>\n'


class _Scale:
    """Where a ratio is, from left to right."""

    def __init__(self, ratios: Sequence[float]) -> None:
        known = [ratio for ratio in ratios if ratio > 0] or [1.0]
        self.low = math.log10(min(0.5, *known)) - 0.05
        self.high = math.log10(max(2.0, *known)) + 0.05

    def __call__(self, ratio: float) -> float:
        share = (math.log10(max(ratio, 10**self.low)) - self.low) / (self.high - self.low)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def marks(self) -> Iterator[float]:
        decades = self.high - self.low
        for power in range(math.floor(self.low), math.ceil(self.high) + 1):
            for digit in _DECADE_MARKS if decades < 3 else (1,):
                if self.low <= math.log10(digit * 10.0**power) <= self.high:
                    yield digit * 10.0**power


def _goal_of(row: Row) -> list[float]:
    return [row.goal.limit] if row.goal and row.goal.of == "ratio" else []


def _axis(scale: _Scale, height: int, machine: Mapping[str, str]) -> Iterator[str]:
    yield _text(0, 18, "nsbroker, divided by what stands beside it", "title")
    measured_on = (machine["processor"], machine["kernel"], machine["system"], f"Python {machine['Python']}")
    yield _text(0, 38, "; ".join(measured_on), "small")
    end = height - _BOTTOM + 4
    for mark in scale.marks():
        x = scale(mark)
        yield _line(x, _TOP - 6, x, end, "one" if mark == 1 else "grid")
        yield _text(x, end + 14, f"{number(mark)}x", "small middle")
    yield _text(0, end + 14, "dot: median; line: quartiles; upright line: goal; green: reached, red: missed", "small")


def _draw(row: Row, ratio: Spread, y: int, scale: _Scale) -> Iterator[str]:
    colour = {None: "shown", True: "reached", False: "missed"}[row.reached]
    goal = f"; goal {goal_text(row.goal, row.unit)}" if row.goal else ""
    yield _text(0, y - 2, row.name.replace("`", ""))
    yield _text(0, y + 12, f"against {row.reference}{goal}".replace("`", ""), "small")
    yield _line(scale(ratio.low), y, scale(ratio.high), y, f"spread {colour}")
    yield f'<circle cx="{scale(ratio.median):.1f}" cy="{y}" r="5" class="{colour}"/>'
    for limit in _goal_of(row):
        yield _line(scale(limit), y - 9, scale(limit), y + 9, "goal")
    yield _text(_WIDTH, y + 4, f"{number(ratio.median)}x", "right")


def _text(x: float, y: float, text: str, classes: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y}" class="{classes}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, classes: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1}" x2="{x2:.1f}" y2="{y2}" class="{classes}"/>'
