"""Refusals are counted for each user, and each user gets its record in turn."""

from __future__ import annotations

from nsbrokerd.clients.client import Person
from nsbrokerd.clients.peer import Peer
from nsbrokerd.policy import Subject
from nsbrokerd.policy.plans import Refusal
from nsbrokerd.requests.counted_refusals import MOST_USERS, Counted, CountedRefusals

FIRST, LAST = Refusal("denied", "first"), Refusal("denied", "last")


def person(uid: int) -> tuple[Person, Peer]:
    return Person(uid, 0, 1), Peer(Subject(uid, frozenset()), uid, 1)


def test_refusals_of_a_user_are_one_record_with_the_last_reason() -> None:
    counted = CountedRefusals()
    ann, peer = person(1)
    for refusal in (FIRST, FIRST, LAST):
        counted.count(ann, peer, refusal)
    assert counted.take(10) == [Counted(3, peer, LAST)]
    assert counted.take(10) == []


def test_users_get_their_records_in_turn() -> None:
    """A user that goes on does not come before one that has waited longer."""
    counted = CountedRefusals()
    people = [person(uid) for uid in range(4)]
    records = []
    for _ in range(4):
        for each in people:
            counted.count(*each, FIRST)
        records += counted.take(2)
    assert [one.peer.subject.uid for one in records] == [0, 1, 2, 3, 0, 1, 2, 3]
    records += counted.take(100)
    assert sum(one.number for one in records) == 4 * len(people)


def test_users_beyond_a_bound_share_a_record() -> None:
    counted = CountedRefusals()
    for uid in range(MOST_USERS + 10):
        counted.count(*person(uid), FIRST)
    records = counted.take(2 * MOST_USERS)
    assert [one.is_of_several for one in records] == [False] * MOST_USERS + [True]
    assert records[-1].number == 10
