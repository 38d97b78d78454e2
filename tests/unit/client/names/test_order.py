"""Addresses are tried in the order of RFC 6724. The examples are those of its section 10.2."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsbroker.names.files import gai_conf
from nsbroker.names.order import Source, networks_matter, preference

ADDRESSES = st.ip_addresses().map(str)


def order(*pairs: tuple[str, str | None]) -> list[str]:
    destinations = [destination for destination, _ in pairs]
    return [destinations[index] for index in preference(destinations, [at(source) for _, source in pairs])]


def at(source: str | None) -> Source | None:
    """Return a source, given as its address, optionally with "/" and the length of its network's prefix."""
    address, _, bits = (source or "").partition("/")
    return Source(address, int(bits or 0)) if address else None


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
    """A common prefix with a source beyond its network would undo the server's rotation."""
    assert order(("203.0.113.1", "10.0.0.9/24"), ("10.0.1.1", "10.0.0.9/24")) == ["203.0.113.1", "10.0.1.1"]
    assert order(("203.0.113.1", "10.0.0.9"), ("10.0.0.1", "10.0.0.9")) == ["203.0.113.1", "10.0.0.1"]


def test_ipv4_address_in_the_network_of_its_source_comes_first() -> None:
    assert order(("203.0.113.1", "10.0.0.9/24"), ("10.0.0.1", "10.0.0.9/24")) == ["10.0.0.1", "203.0.113.1"]
    near, far = ("10.0.0.1", "203.0.113.1"), [Source("10.0.0.9", 24)] * 2
    assert networks_matter(near, far)
    assert not networks_matter(near, [None, None])
    assert not networks_matter(("203.0.113.1", "10.0.9.1"), far)


def test_tables_of_gai_conf_replace_the_usual_ones() -> None:
    pairs = [("2001:db8::1", "2001:db8::9"), ("10.0.0.1", "10.0.0.9"), ("169.254.0.1", "10.0.0.9")]

    def with_tables(text: str) -> list[int]:
        return preference([there for there, _ in pairs], [at(here) for _, here in pairs], gai_conf.parse(text))

    assert with_tables("") == [0, 1, 2]
    assert with_tables("precedence ::ffff:0:0/96 100") == [1, 0, 2]
    assert with_tables("label 2001:db8::1/128 7\nscopev4 169.254.0.0/16 14") == [1, 2, 0]


def test_loopback_comes_before_ipv4_loopback() -> None:
    assert order(("127.0.0.1", "127.0.0.1"), ("::1", "::1")) == ["::1", "127.0.0.1"]


def test_unknown_sources_leave_the_rules_that_need_none() -> None:
    assert preference(["10.0.0.1", "2001:db8::1", "10.0.0.2"], None) == [1, 0, 2]


def test_ipv6_prefix_is_compared_to_its_end() -> None:
    pairs = [("2001:db8::ffff", "2001:db8::1:0:0:1"), ("2001:db8::1:0:0:2", "2001:db8::1:0:0:1")]
    assert order(*pairs) == ["2001:db8::1:0:0:2", "2001:db8::ffff"]


def test_mapped_address_counts_as_ipv6() -> None:
    assert order(("::ffff:127.0.0.1", "::ffff:127.0.0.1"), ("::ffff:10.0.0.1", None)) == [
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
    ]


@given(st.lists(st.tuples(ADDRESSES, st.none() | ADDRESSES), max_size=8))
def test_every_address_is_there_once_and_the_order_is_stable(pairs: list[tuple[str, str | None]]) -> None:
    destinations, sources = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    first = preference(destinations, [at(source) for source in sources])
    assert sorted(first) == list(range(len(pairs)))
    again = preference([destinations[index] for index in first], [at(sources[index]) for index in first])
    assert again == list(range(len(pairs)))
