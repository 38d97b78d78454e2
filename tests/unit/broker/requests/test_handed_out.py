"""The broker remembers a bounded number of unlimited sockets. Nobody makes it forget those of users with fewer."""

from __future__ import annotations

from nsbrokerd.requests.handed_out import IN_PAGE, MOST, MOST_OF_PERSON, Entry, HandedOut


def add(handed_out: HandedOut, person: int, uid: int, cookie: int) -> None:
    handed_out.add(person, uid, cookie, "g", "blue", 4097, "tcp")


def entries(handed_out: HandedOut) -> list[Entry]:
    """All of them, page by page."""
    found: list[Entry] = []
    after = 0
    while True:
        page, after = handed_out.page(after)
        assert len(page) <= IN_PAGE
        if not page:
            return found
        found += page


def test_all_sockets_are_told_in_pages() -> None:
    handed_out = HandedOut(clock=lambda: 1000.5)
    for cookie in range(2 * IN_PAGE + 1):
        add(handed_out, 7, 8, cookie)
    found = entries(handed_out)
    assert [one.cookie for one in found] == list(range(2 * IN_PAGE + 1))
    assert found[0] == Entry(0, 8, "g", "blue", 4097, "tcp", 1000)


def test_time_is_that_of_the_last_second() -> None:
    now = [1000.9]
    handed_out = HandedOut(clock=lambda: now[0])
    now[0] = 1002.5
    handed_out.look_at_clock()
    add(handed_out, 1, 1, 1)
    assert entries(handed_out)[0].since == 1002


def test_person_with_many_loses_its_own_oldest_ones() -> None:
    handed_out = HandedOut()
    add(handed_out, 1, 1, 0)
    for cookie in range(1, 3 * MOST_OF_PERSON + 1):
        add(handed_out, 2, 2, cookie)
    found = entries(handed_out)
    assert [one.cookie for one in found] == [0, *range(2 * MOST_OF_PERSON + 1, 3 * MOST_OF_PERSON + 1)]
    assert handed_out.forgotten == 2 * MOST_OF_PERSON


def test_person_that_came_after_many_others_loses_its_own_oldest_ones() -> None:
    handed_out = HandedOut()
    others, each, last = range(100), 150, 1000
    for person in others:
        for cookie in range(each):
            add(handed_out, person, person, cookie)
    for cookie in range(MOST_OF_PERSON):
        add(handed_out, last, last, cookie)
    found = [one.uid for one in entries(handed_out)]
    assert [found.count(person) for person in others] == [each] * len(others)
    assert found.count(last) == MOST - each * len(others)


def test_sockets_of_all_persons_are_bounded() -> None:
    """The persons with the most lose some."""
    handed_out = HandedOut()
    add(handed_out, 0, 0, 0)
    for person in range(1, 20):
        for cookie in range(MOST_OF_PERSON):
            add(handed_out, person, person, 1 + cookie)
    found = entries(handed_out)
    assert len(found) == MOST
    assert found[0].uid == 0
    assert handed_out.forgotten == 1 + 19 * MOST_OF_PERSON - MOST
    assert sum(map(len, handed_out._of.values())) == MOST
