"""The quota of new connections, and the number of those that were turned away."""

from __future__ import annotations

from structlog.testing import capture_logs

from nsbrokerd.clients.arrivals import ANSWERED, BURST, NAMED, PER_SECOND, Arrivals, TurnedAway


def test_person_opens_a_burst_of_connections_and_then_as_many_as_time_gives() -> None:
    """A thousand at once are legal: one person may have as many clients."""
    arrivals = Arrivals(0.0)
    assert BURST > 1000
    assert sum(arrivals.take(0.0) for _ in range(2 * BURST)) == BURST
    assert sum(arrivals.take(0.5) for _ in range(2 * BURST)) == PER_SECOND // 2
    assert sum(arrivals.take(1000.0) for _ in range(2 * BURST)) == BURST


def test_person_is_forgettable_when_its_burst_is_full_again() -> None:
    """Otherwise it could refill its quota by a pause of its connections."""
    arrivals = Arrivals(0.0)
    assert arrivals.are_forgettable(0.0)
    for _ in range(BURST):
        arrivals.take(0.0)
    assert not arrivals.are_forgettable(BURST / PER_SECOND / 2)
    assert arrivals.are_forgettable(BURST / PER_SECOND)


def test_first_connections_of_a_second_past_the_quota_are_answered() -> None:
    arrivals = Arrivals(5.0)
    assert [arrivals.take_answer(5.9) for _ in range(ANSWERED + 2)] == [True] * ANSWERED + [False] * 2
    assert arrivals.take_answer(6.0)


def test_log_has_one_line_of_each_person_and_reason() -> None:
    turned_away = TurnedAway()
    for uid in (1000, 1001, 1000):
        turned_away.count("too many", uid)
    turned_away.count("too fast", 1000)
    with capture_logs() as lines:
        assert turned_away.report()
        assert not turned_away.report()
    assert [(line["event"], line["uid"], line["more"]) for line in lines] == [
        ("too many", 1000, 2),
        ("too many", 1001, 1),
        ("too fast", 1000, 1),
    ]


def test_persons_past_a_bound_share_one_line() -> None:
    """However many users there are, the log gets few lines."""
    turned_away = TurnedAway()
    for uid in range(1000 * NAMED):
        turned_away.count("too many", uid)
    with capture_logs() as lines:
        turned_away.report()
    assert len(lines) == NAMED + 1
    assert "uid" not in lines[-1]
    assert sum(line["more"] for line in lines) == 1000 * NAMED
