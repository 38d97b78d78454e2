"""Times are compared exactly: an owner that restarts within a microsecond is noticed."""

from __future__ import annotations

import json

import pytest

from nsbrokerd.namespaces.engines.inspection import UnclearAnswerError, parse_inspection
from support.engines.fake import container


def started(text: str) -> int:
    return parse_inspection(json.dumps(container(started=text)).encode()).started_ns


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("2026-01-02T03:04:05.000000001Z", "2026-01-02T03:04:05.000000002Z"),
        ("2026-01-02T03:04:05.19Z", "2026-01-02T03:04:05.2Z"),
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05.1Z"),
        ("2026-01-02T03:04:05.8+02:00", "2026-01-02T02:04:05.9+01:00"),
        ("2026-01-02T03:04:05+02:00", "2026-01-02T02:04:05Z"),
        ("0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
    ],
)
def test_times_are_in_order(earlier: str, later: str) -> None:
    assert started(earlier) < started(later)


def test_time_zones_do_not_matter() -> None:
    assert started("2026-01-02T03:04:05.123456789+01:00") == started("2026-01-02T02:04:05.123456789Z")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-01-02",
        "2026-01-02T03:04:05",
        "2026-01-02T03:04:05.Z",
        "2026-02-30T03:04:05Z",
        "0001-01-01T00:00:00+23:00x",
    ],
)
def test_other_text_is_no_time(text: str) -> None:
    with pytest.raises(UnclearAnswerError, match="StartedAt is no time"):
        started(text)
