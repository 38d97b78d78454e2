"""A piece of work ends when its time is up and others wait."""

from __future__ import annotations

from nsbrokerd.sockets.time_slice import SHARED_S, SLICE_S, TimeSlice


class Place:
    """A time slice with a clock and with others that wait, as a test says."""

    def __init__(self) -> None:
        self.now = 100.0
        self.is_awaited = False
        self.looks = 0
        self.time_slice = TimeSlice(lambda: self.now)
        self.time_slice.is_awaited = self._look

    def _look(self) -> bool:
        self.looks += 1
        return self.is_awaited

    def passes(self, slices: float) -> bool:
        """Let time pass, and return whether the piece must end."""
        self.now += slices * SLICE_S
        return self.time_slice.is_over()


def test_piece_has_a_short_time_even_if_others_wait() -> None:
    place = Place()
    place.is_awaited = True
    place.time_slice.begin()
    assert not place.passes(0.9)
    assert place.passes(0.2)


def test_piece_goes_on_until_others_wait() -> None:
    """It looks for them more and more seldom, but often enough."""
    place = Place()
    place.time_slice.begin()
    looks = [place.passes(0.25) or place.looks for _ in range(100)]
    assert looks[5] > looks[3]
    assert 5 <= looks[99] <= 10
    place.is_awaited = True
    assert any(place.passes(0.25) for _ in range(15))


def test_pieces_look_often_while_others_come_and_go() -> None:
    """So those wait less: a look costs little beside a round trip."""
    place = Place()
    place.time_slice.begin()
    place.is_awaited = True
    assert place.passes(2)
    place.is_awaited = False
    place.looks = 0
    place.time_slice.begin()
    for _ in range(20):
        place.passes(1.1)
    assert place.looks == 20
    place.now += SHARED_S
    for _ in range(20):
        place.passes(1.1)
    assert place.looks < 35


def test_piece_that_must_end_does_not_go_on() -> None:
    """Parts of it have ended already, so the others must not begin."""
    place = Place()
    place.is_awaited = True
    place.time_slice.begin()
    assert place.passes(2)
    place.is_awaited = False
    assert place.passes(0)
    assert place.passes(2)
    place.time_slice.begin()
    assert not place.passes(2)


def test_piece_without_a_begin_has_no_end() -> None:
    place = Place()
    place.is_awaited = True
    assert not place.passes(1e9)
