"""gai.conf is read as glibc reads it, and no content is an error."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsbroker.names.files.gai_conf import Rules, parse, value_for

WORDS = st.sampled_from(["label", "precedence", "scopev4", "::/0", "::ffff:0:0/96", "10.0.0.0/8", "/", "5", "x", "#"])


def value(table: tuple[tuple[int, int, int], ...], address: str) -> int:
    packed = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    return value_for(table, int.from_bytes(packed, "big"), 8 * len(packed))


def test_defaults_are_those_of_glibc() -> None:
    """Not those of RFC 6724, which are newer."""
    rules = Rules()
    addresses = ("::1", "::5", "::ffff:1.2.3.4", "2001::1", "2002::1", "fec0::1", "fd00::1", "2001:db8::1")
    assert [value(rules.labels, address) for address in addresses] == [0, 3, 4, 7, 2, 5, 6, 1]
    assert [value(rules.precedences, address) for address in addresses] == [50, 20, 10, 40, 30, 40, 40, 40]
    assert [value(rules.scopes, address) for address in ("127.0.0.9", "169.254.1.1", "10.0.0.1")] == [2, 2, 14]
    assert parse("# label ::/0 9\nlabel\nlabel ::1\nreload yes\n") == rules._replace(labels=parse("label ::1").labels)


def test_one_line_replaces_the_whole_table_of_its_kind() -> None:
    rules = parse("precedence ::ffff:0:0/96 100  # IPv4 first\n")
    assert value(rules.precedences, "::ffff:1.2.3.4") == 100
    assert value(rules.precedences, "::1") == 40
    assert rules.labels == Rules().labels


def test_longest_prefix_counts_and_of_equal_ones_the_first() -> None:
    rules = parse("label ::/0 1\nlabel fd00::/8 2\nlabel fd00::/16 3\nlabel fd00::/16 4\n")
    assert [value(rules.labels, address) for address in ("fd00::1", "fd11::1", "::1")] == [3, 2, 1]


def test_scopes_are_for_ipv4_addresses_in_either_form() -> None:
    rules = parse("scopev4 ::ffff:10.0.0.0/104 5\nscopev4 192.168.0.0/16 6\nscopev4 172.16.0.1 7\n")
    assert [value(rules.scopes, a) for a in ("10.9.9.9", "192.168.1.1", "172.16.0.1", "127.0.0.1")] == [5, 6, 7, 14]


@pytest.mark.parametrize(
    "line",
    ["label fd00::/129 5", "label fd00::/x 5", "label fd00::/8 x", "label 10.0.0.0/8 5", "label fd00::/8 2147483648",
     "precedence fd00::/8 -1", "scopev4 10.0.0.0/33 5", "scopev4 ::ffff:10.0.0.0/95 5", "scopev4 fd00::/104 5",
     "lable ::/0 5"],
)  # fmt: skip
def test_line_that_is_not_valid_is_ignored(line: str) -> None:
    assert parse(line) == Rules()


@given(st.lists(st.lists(WORDS | st.text(max_size=6), max_size=4).map(" ".join), max_size=8).map("\n".join))
def test_any_text_gives_a_value_to_each_address(text: str) -> None:
    rules = parse(text)
    for address in ("::1", "::ffff:1.2.3.4", "2001:db8::1"):
        value(rules.labels, address)
        value(rules.precedences, address)
    value(rules.scopes, "10.0.0.1")
