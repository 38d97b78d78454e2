"""The tables of the status are bounded, and lose no number."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from nsbrokerd.policy.grant import Grant
from nsbrokerd.policy.plans import PlannedSocket
from nsbrokerd.requests.tally import MOST_ROWS, MOST_ROWS_OF_USER, Table, Tally
from nsbrokerd.sockets.batch import Opened


def test_rows_of_one_user_are_bounded() -> None:
    """What has no row of its own is counted in a row of that user."""
    table = Table()
    for _ in range(2):
        for number in range(1000):
            table.add(1000, "grant", f"namespace {number}")
    assert len(table.rows) == MOST_ROWS_OF_USER + 1
    assert table.rows[1000, "grant", "namespace 0"] == 2
    assert table.rows[1000, None, None] == 2 * (1000 - MOST_ROWS_OF_USER)
    table.add(1001, "grant", "blue")
    assert table.rows[1001, "grant", "blue"] == 1


def test_rows_of_all_users_are_bounded() -> None:
    """Users that come late share one row. Those that have a row get one for all else."""
    table = Table()
    for uid in range(5000):
        table.add(uid, "grant", "blue")
    assert len(table.rows) == MOST_ROWS + 1
    assert table.rows[None, None, None] == 5000 - MOST_ROWS
    for number in range(100):
        table.add(0, "grant", f"namespace {number}")
    assert table.rows[0, None, None] == 100
    assert len(table.rows) == MOST_ROWS + 2
    assert sum(table.rows.values()) == 5100
    assert len(table._rows_of) <= MOST_ROWS


def test_many_hostile_users_keep_the_bound() -> None:
    table = Table()
    for uid in range(1000):
        for number in range(50):
            table.add(uid, "grant", f"namespace {number}")
    assert len(table.rows) <= 2 * MOST_ROWS + 1
    assert sum(table.rows.values()) == 50_000


def test_answers_are_counted_soon_and_all() -> None:
    """A few wait to be counted. Those with several sockets do not."""
    nothing: Any = None
    person: Any = SimpleNamespace(uid=1000)
    peer: Any = SimpleNamespace(subject=SimpleNamespace(uid=1001))
    namespace: Any = SimpleNamespace(cookie=4097)
    grant = Grant("g", None, frozenset(), nothing, frozenset())
    planned = PlannedSocket(0, "blue", nothing, (2, 1, 6), "tcp", grant, False, True)
    opened = [Opened(planned, nothing, 7, namespace, None)]
    tally = Tally()
    for number in range(1, 1001):
        tally.answer(person, peer, "open", opened)
        assert number - 100 < tally.answered["open"] <= number
    tally.answer(person, peer, "open", opened * 3)
    assert tally.answered == {"open": 1001}
    tally.answer(person, peer, "namespaces", ())
    tally.count()
    assert tally.answered == {"open": 1001, "namespaces": 1}
    assert tally.sockets.rows == {(1000, "g", "blue"): 1003}
    [entry, *_], _ = tally.handed_out.page(0)
    assert entry[:6] == (7, 1001, "g", "blue", 4097, "tcp")
