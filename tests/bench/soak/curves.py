"""The curves of the soak in SVG: memory, descriptors and latency over the time.

    PYTHONPATH=tests:tests/bench python -m soak.curves tests/bench/results/soak.json >tests/bench/results/soak.svg

Each curve begins at zero. In the shaded time, the broker is ended and started again in each period.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from plot import STYLE, number, text


class Curve(NamedTuple):
    """One figure of the looks, by its key."""

    title: str
    key: str
    unit: str


CURVES = (
    Curve("Memory of the broker", "broker_mb", "MB"),
    Curve("Descriptors of the broker, while all clients pause", "broker_fds", ""),
    Curve("Memory of all clients together", "clients_mb", "MB"),
    Curve("Descriptors of all clients together, while they pause", "clients_fds", ""),
    Curve("A well-behaved user's request beside all others, median", "median_ms", "ms"),
    Curve("... and the slowest in a hundred (99 %)", "slow_ms", "ms"),
)

_WIDTH, _LEFT, _RIGHT = 820, 60, 90
_TOP, _HEAD, _HEIGHT, _GAP = 62, 24, 70, 26
_LINES = """
.curve { fill: none; stroke: #0969da; stroke-width: 1.8; stroke-linejoin: round }
.restarts { fill: #afb8c1; fill-opacity: .25 }
@media (prefers-color-scheme: dark) { .curve { stroke: #4493f8 } }
"""


def as_svg(soak: Mapping[str, Any]) -> str:
    """Draw the looks of soak.json."""
    looks, title = soak["looks"], f"A soak of {soak['seconds'] / 60:.0f} minutes"
    sockets = f"{soak['counts'].get('sockets', 0):,} sockets; {len(soak['wrong'])} wrong, {len(soak['lost'])} lost."
    parts = [
        text(0, 18, title, "title"),
        text(0, 38, f"{sockets} In the grey time, the broker ends and starts again in each period", "small"),
    ]
    y = _TOP
    for curve in CURVES:
        parts += _draw(curve, looks, y)
        y += _HEAD + _HEIGHT + _GAP
    size = f'width="{_WIDTH}" height="{y}" viewBox="0 0 {_WIDTH} {y}"'
    inside = "\n".join([f"<style>{STYLE}{_LINES}</style>", f"<title>{title}</title>", *parts])
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n{inside}\n</svg>\n'


def _draw(curve: Curve, looks: Sequence[Mapping[str, Any]], y: int) -> Iterator[str]:
    values = [look[curve.key] for look in looks]
    per_minute = (_WIDTH - _LEFT - _RIGHT) / max(look["minute"] for look in looks)
    most = max(values) or 1
    top, bottom = y + _HEAD, y + _HEAD + _HEIGHT
    yield text(0, y + 12, curve.title, "question")
    restarts = [look["minute"] for look in looks if look["life"] != looks[-1]["life"]]
    if restarts:
        width = f"{max(restarts) * per_minute:.1f}"
        yield f'<rect x="{_LEFT}" y="{top}" width="{width}" height="{_HEIGHT}" class="restarts"/>'
    yield f'<line x1="{_LEFT}" y1="{bottom}" x2="{_WIDTH - _RIGHT}" y2="{bottom}" class="zero"/>'
    yield text(_LEFT - 8, top + 10, number(most), "small right")
    yield text(_LEFT - 8, bottom, "0", "small right")
    points = [
        f"{_LEFT + look['minute'] * per_minute:.1f},{bottom - value / most * _HEIGHT:.1f}"
        for look, value in zip(looks, values, strict=True)
    ]
    yield f'<polyline points="{" ".join(points)}" class="curve"/>'
    last = bottom - values[-1] / most * _HEIGHT + 4
    yield text(_WIDTH - _RIGHT + 8, round(last), f"{number(values[-1])} {curve.unit}")
    yield text(_LEFT, bottom + 14, "0 min", "small")
    yield text(_WIDTH - _RIGHT, bottom + 14, f"{looks[-1]['minute']:.0f} min", "small right")


if __name__ == "__main__":
    sys.stdout.write(as_svg(json.loads(Path(sys.argv[1]).read_text())))
