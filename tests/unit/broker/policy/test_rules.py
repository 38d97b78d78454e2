"""Address and option rules: the values that they cover, and the texts that are refused."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsbrokerd.policy import AddressRule, NamespaceRule, OptionRule
from nsbrokerd.policy.options import PrivilegedOption, UnknownOptionError, classify


@pytest.mark.parametrize(
    ("rule", "host", "port"),
    [
        ("*:80", "10.1.2.3", 80),
        ("*:80", "fd00::1", 80),
        ("10.0.0.0/8:8000-8999", "10.255.255.255", 8000),
        ("10.0.0.0/8:8000-8999", "10.0.0.0", 8999),
        ("[fd00::/8]:443", "fdff::1", 443),
        ("[::]:443", "::", 443),
        ("192.0.2.1:*", "192.0.2.1", 65535),
        ("10.0.0.0/8:80", "::ffff:10.0.0.1", 80),
    ],
)
def test_a_rule_covers_what_lies_in_its_network_and_range(rule: str, host: str, port: int) -> None:
    assert AddressRule.parse(rule).covers(host, port)


@pytest.mark.parametrize(
    ("rule", "host", "port"),
    [
        ("*:80", "10.1.2.3", 81),
        ("10.0.0.0/8:8000-8999", "11.0.0.0", 8000),
        ("10.0.0.0/8:8000-8999", "10.0.0.1", 7999),
        ("10.0.0.0/8:8000-8999", "10.0.0.1", 9000),
        ("[::]:443", "::1", 443),
        ("[::/0]:443", "10.0.0.1", 443),
        ("0.0.0.0/0:80", "fd00::1", 80),
        ("[::/0]:80", "::ffff:10.0.0.1", 80),
    ],
)
def test_a_rule_covers_nothing_else(rule: str, host: str, port: int) -> None:
    assert not AddressRule.parse(rule).covers(host, port)


@pytest.mark.parametrize(
    "text",
    [
        *("80", "*", ":80", "*:", "*:x", "*:70000", "*:9-8", "*:-1", "*:1-", "*: 80", "10.0.0.1/8:80", "fd00::1:80"),
        *("[10.0.0.1]:80", "[fd00::1:80", "[::ffff:10.0.0.0/104]:80", "example.org:80", "*:٣"),
        *("[fe80::1%eth0]:80", "[fe80::%eth0/64]:80"),
    ],
)
def test_a_rule_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        AddressRule.parse(text)


@given(st.ip_addresses(v=4), st.integers(0, 32), st.ip_addresses(v=4), st.integers(0, 65535), st.integers(0, 65535))
def test_a_v4_mapped_address_is_treated_as_the_ipv4_address(
    base: ipaddress.IPv4Address, length: int, host: ipaddress.IPv4Address, port: int, listed: int
) -> None:
    network = ipaddress.ip_network((base, length), strict=False)
    rule = AddressRule.parse(f"{network}:{listed}")
    assert rule.covers(f"::ffff:{host}", port) == rule.covers(str(host), port) == (host in network and port == listed)


def test_an_exclusion_wins_wherever_it_stands() -> None:
    for texts in (["tenant-*", "!tenant-mgmt"], ["!tenant-mgmt", "tenant-*"]):
        rule = NamespaceRule.parse(texts)
        assert rule.covers("tenant-a")
        assert not rule.covers("tenant-mgmt")


def test_exclusions_alone_cover_nothing() -> None:
    assert not NamespaceRule.parse(["!a"]).covers("b")


def test_a_star_never_means_the_host_or_an_own_namespace() -> None:
    rule = NamespaceRule.parse(["*"])
    assert rule.covers("blue")
    assert not rule.covers("@host")
    assert not rule.covers("@own")
    assert NamespaceRule.parse(["@host"]).covers("@host")
    assert not NamespaceRule.parse(["@host"]).covers("@own")


def test_patterns_match_whole_names_with_their_case() -> None:
    rule = NamespaceRule.parse(["blue", "r?d"])
    assert [name for name in ("blue", "Blue", "blue2", "ablue", "red", "reed", "blue\n") if rule.covers(name)] == [
        "blue",
        "red",
    ]


@pytest.mark.parametrize("text", ["", "!", "@hosts", "!@host", "a/b", "../x"])
def test_a_namespace_pattern_that_can_match_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        NamespaceRule.parse([text])


def test_ordinary_options_need_no_grant() -> None:
    assert classify(1, 15, 1) is None  # SO_REUSEPORT
    assert classify(41, 26, 1) is None  # IPV6_V6ONLY


@pytest.mark.parametrize(
    ("option", "text"),
    [((1, 36, 16), "mark=0x10"), ((1, 25, b"eth0\0"), "bind_device=eth0"), ((0, 19, 1), "transparent")],
)
def test_privileged_options_are_called_as_the_policy_writes_them(option: tuple[int, int, int], text: str) -> None:
    asked = classify(*option)
    assert str(asked) == text
    assert asked is not None
    assert OptionRule.parse(text).covers(asked)


@pytest.mark.parametrize(
    "option",
    [
        *((1, 33, 2**20), (1, 32, 2**20)),  # SO_RCVBUFFORCE, SO_SNDBUFFORCE
        *((6, 31, b"tls"), (6, 13, b"bbr")),  # TCP_ULP and TCP_CONGESTION load modules
        *((1, 26, b"\0" * 16), (0, 35, 1), (1, 36, -1), (1, 36, b"x"), (1, 25, 3), (99, 99, 1)),
        *((1, 25, b"lo\0-eth0"), (1, 25, b"a name of 16 ...")),  # of which the kernel reads the beginning alone
    ],
)
def test_an_option_that_is_not_known_is_never_set(option: tuple[int, int, int | bytes]) -> None:
    with pytest.raises(UnknownOptionError):
        classify(*option)


def test_option_rules_cover_their_values_alone() -> None:
    assert OptionRule.parse("mark=16").covers(PrivilegedOption("mark", "0x10"))
    assert not OptionRule.parse("mark=0x10").covers(PrivilegedOption("mark", "0x11"))
    assert OptionRule.parse("bind_device=eth*").covers(PrivilegedOption("bind_device", "eth1"))
    assert not OptionRule.parse("bind_device=eth*").covers(PrivilegedOption("bind_device", "wg0"))
    assert not OptionRule.parse("transparent").covers(PrivilegedOption("mark", "0x10"))


@pytest.mark.parametrize("text", ["mark", "mark=", "mark=x", "mark=-1", "mark=0x100000000", "transparent=1", "tos=1"])
def test_an_option_rule_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        OptionRule.parse(text)
