"""A client can cause only few lines of the log. The number of the others is logged."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from nsbrokerd.service.line_quota import ABOUT_NO_CLIENT, MOST_COUNTS, MOST_FOR_ALL, MOST_FOR_USER, LineQuota


class FakeClock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def quota(clock: FakeClock) -> LineQuota:
    return LineQuota(clock)


def kept(quota: LineQuota, times: int, event: str = "client refused", **fields: Any) -> int:
    """Return how many of some equal lines are kept."""
    number = 0
    for _ in range(times):
        with suppress(structlog.DropEvent):
            number += quota(None, "warning", {"event": event, **fields}) == {"event": event, **fields}
    return number


def reported(quota: LineQuota) -> list[tuple[str, str, int | None, int]]:
    with capture_logs() as lines:
        quota.report()
    return [(line["log_level"], line["event"], line.get("uid"), line["more"]) for line in lines]


def test_lines_of_a_user_are_few_in_each_second(quota: LineQuota, clock: FakeClock) -> None:
    assert kept(quota, 20, uid=1) == MOST_FOR_USER
    assert kept(quota, 20, event="client dropped", uid=1) == 0
    assert kept(quota, 20, uid=2) == MOST_FOR_USER
    assert kept(quota, 20) == MOST_FOR_USER
    clock.now = 1.0
    assert kept(quota, 20, uid=1) == MOST_FOR_USER


def test_lines_of_all_users_are_few_in_each_second(quota: LineQuota) -> None:
    assert sum(kept(quota, 1, uid=uid) for uid in range(1000)) == MOST_FOR_ALL


def test_number_of_the_others_is_logged_once(quota: LineQuota) -> None:
    kept(quota, MOST_FOR_USER + 812, uid=1)
    kept(quota, MOST_FOR_USER + 3)
    kept(quota, 4, event="client dropped", uid=1)
    assert reported(quota) == [
        ("warning", "client refused", 1, 812),
        ("warning", "client refused", None, 3),
        ("warning", "client dropped", 1, 4),
    ]
    assert reported(quota) == []


def test_lines_that_have_a_number_are_counted_with_it(quota: LineQuota) -> None:
    """Such a line stands for several events."""
    assert kept(quota, MOST_FOR_USER + 2, uid=1, more=10) == MOST_FOR_USER
    assert reported(quota) == [("warning", "client refused", 1, 20)]


def test_numbers_are_few_as_well(quota: LineQuota) -> None:
    """Users beyond share one."""
    for uid in range(1000):
        kept(quota, 10, uid=uid)
    numbers = reported(quota)
    assert len(numbers) == MOST_COUNTS + 1
    assert sum(number for *_, number in numbers) + MOST_FOR_ALL == 10_000


def test_lines_that_no_client_causes_are_all_kept(quota: LineQuota) -> None:
    lines = [quota(None, "error", {"event": "reload failed", ABOUT_NO_CLIENT: True}) for _ in range(1000)]
    assert lines == [{"event": "reload failed"}] * 1000
    assert kept(quota, 1) == 1
