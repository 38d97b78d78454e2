"""Addresses are tried in the order of RFC 6724. The examples are those of its section 10.2."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsbroker.names.order import preference

ADDRESSES = st.ip_addresses().map(str)


def order(*pairs: tuple[str, str | None]) -> list[str]:
    destinations = [destination for destination, _ in pairs]
    return [destinations[index] for index in preference(destinations, [source for _, source in pairs])]


@pytest.mark.parametrize(
    ("preferred", "other"),
    [
        (("2001:db8:1::1", "2001:db8:1::2"), ("198.51.100.121", "169.254.13.78")),
        (("198.51.100.121", "198.51.100.117"), ("2001:db8:1::1", "fe80::1")),
        (("2001:db8:1::1", "2001:db8:1::2"), ("10.1.2.3", "10.1.2.4")),
        (("fe80::1", "fe80::2"), ("2001:db8:1::1", "2001:db8:1::2")),
        (("2001:db8:1::1", "2001:db8:1::2"), ("2001:db8:3ffe::1", "2001:db8:3f44::2")),
        (("2002:c633:6401::1", "2002:c633:6401::2"), ("2001:db8:1::1", "2002:c633:6401::2")),
        (("2001:db8:1::1", "2001:db8:1::2"), ("2002:c633:6401::1", "2002:c633:6401::2")),
    ],
    ids=[
        "matching scope",
        "matching scope, IPv4",
        "precedence",
        "smaller scope",
        "longest prefix",
        "label",
        "6to4 last",
    ],
)
def test_examples_of_the_rfc(preferred: tuple[str, str], other: tuple[str, str]) -> None:
    assert order(other, preferred)[0] == preferred[0]
    assert order(preferred, other)[0] == preferred[0]


def test_unreachable_ones_come_last_and_in_order_of_precedence() -> None:
    assert order(("2001:db8::1", None), ("10.0.0.2", None), ("10.0.0.1", "10.0.0.9")) == [
        "10.0.0.1",
        "2001:db8::1",
        "10.0.0.2",
    ]


def test_ipv4_addresses_keep_the_order_of_the_name_server() -> None:
    """A common prefix with a private source would undo the server's rotation."""
    assert order(("203.0.113.1", "10.0.0.9"), ("10.0.0.1", "10.0.0.9")) == ["203.0.113.1", "10.0.0.1"]


def test_loopback_comes_before_ipv4_loopback() -> None:
    assert order(("127.0.0.1", "127.0.0.1"), ("::1", "::1")) == ["::1", "127.0.0.1"]


def test_unknown_sources_leave_the_rules_that_need_none() -> None:
    assert preference(["10.0.0.1", "2001:db8::1", "10.0.0.2"], None) == [1, 0, 2]


def test_prefix_is_compared_no_further_than_a_network_goes() -> None:
    """Bits past the first 64 are the interface part, which does not count."""
    pairs = [("2001:db8::ffff", "2001:db8::1:0:0:1"), ("2001:db8::1:0:0:2", "2001:db8::1:0:0:1")]
    assert order(*pairs) == [destination for destination, _ in pairs]


@given(st.lists(st.tuples(ADDRESSES, st.none() | ADDRESSES), max_size=8))
def test_every_address_is_there_once_and_the_order_is_stable(pairs: list[tuple[str, str | None]]) -> None:
    destinations, sources = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    first = preference(destinations, sources)
    assert sorted(first) == list(range(len(pairs)))
    again = preference([destinations[index] for index in first], [sources[index] for index in first])
    assert again == list(range(len(pairs)))
