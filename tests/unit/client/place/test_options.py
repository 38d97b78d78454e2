"""Options from birth: those that a family knows, and those of a library that only the broker can set."""

from __future__ import annotations

import socket
from sys import byteorder
from typing import Any

import pytest

from nsbroker.place.options import AtBirth, add_options, split_privileged

V4, V6, PACKET, UNIX = (int(getattr(socket, f"AF_{name}")) for name in ("INET", "INET6", "PACKET", "UNIX"))
NODELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        (V4, ((1, 36, 7), (0, 19, 1), (0, 15, 1))),
        (V6, ((1, 36, 7), (41, 75, 1), (41, 78, 1))),
        (PACKET, ((1, 36, 7),)),
        (UNIX, ()),
    ],
)
def test_each_family_has_the_options_that_it_knows(family: int, expected: tuple[tuple[int, int, int], ...]) -> None:
    assert AtBirth(7, transparent=True, freebind=True).of(family) == expected
    assert AtBirth().of(family) == ()


def test_mark_of_zero_is_a_mark() -> None:
    assert AtBirth(mark=0).of(V4) == ((1, 36, 0),)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ((1, 36, 16), 16),
        ((1, 36, -1), 0xFFFFFFFF),
        ((1, 36, (16).to_bytes(4, byteorder)), 16),
        ((1, 36, bytearray((16).to_bytes(4, byteorder))), 16),
        ((0, 19, 1), 1),
        ((0, 19, 5), 1),
        ((41, 75, True), 1),
    ],
)
def test_option_that_needs_rights_goes_to_the_broker(option: tuple[Any, ...], value: int) -> None:
    """In the form that the broker compares with the grant."""
    privileged, others = split_privileged([NODELAY, option])
    assert privileged == ((option[0], option[1], value),)
    assert others == [NODELAY]


@pytest.mark.parametrize(
    "option", [NODELAY, (0, 19, 0), (1, 25, b"eth0"), (1, 36, None, 4), (1, 36, "x"), (0, 36, 1), (6, 1, 1, "tcp"), ()]
)
def test_every_other_option_is_left_to_the_program(option: tuple[Any, ...]) -> None:
    """Also those that `setsockopt` itself refuses."""
    assert split_privileged([option]) == ((), [option])


def test_later_option_replaces_an_earlier_one() -> None:
    """So no grant has to allow both values."""
    assert add_options(((1, 36, 7), (0, 15, 1)), [(1, 36, 8), NODELAY]) == ((1, 36, 8), (0, 15, 1), NODELAY)
