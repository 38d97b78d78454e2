"""Pools that all persons share."""

from __future__ import annotations

from nsbrokerd.clients.client import Person
from nsbrokerd.clients.pools import Pool


def person(*, is_named: bool) -> Person:
    made = Person(1000, 0.0, 1)
    made.is_named = is_named
    return made


def test_unnamed_persons_get_half() -> None:
    pool, named, strangers = Pool(10), person(is_named=True), [person(is_named=False) for _ in range(2)]
    assert pool.take(named, 4)
    assert pool.take(strangers[0], 3)
    assert not pool.take(strangers[1], 3)
    assert pool.take(strangers[1], 2)
    assert not pool.take(named, 2)
    assert pool.take(named)
    assert not pool.take(named)
    pool.give_back(named, 5)
    assert not pool.take(strangers[1])
    strangers[0].is_named = True  # by a reload
    assert pool.take(strangers[1], 3)
    assert not pool.take(strangers[1])


def test_persons_without_a_part_are_forgotten() -> None:
    pool, some = Pool(10), person(is_named=False)
    for _ in range(3):
        assert pool.take(some, 3)
        pool.give_back(some, 3)
    assert not pool._parts
