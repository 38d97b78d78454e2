"""Limits: which addresses a socket may go to and be bound to, and which grant a socket comes by."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsbroker.wire import SocketSpec
from nsbrokerd.policy import AddressRule, Allow, Deny, Grant, Limit, NamespaceRule, Policy, Subject
from nsbrokerd.policy.kinds import KIND_OF_TRIPLE, KINDS, PORT_KINDS
from nsbrokerd.policy.limit import why_no_bind_limit, why_no_limit


def rules(*texts: str) -> tuple[AddressRule, ...]:
    return tuple(map(AddressRule.parse, texts))


NOWHERE = Limit((), ())
ANYWHERE = Limit()


@given(st.ip_addresses(), st.integers(0, 65535))
def test_absent_is_anywhere_and_empty_is_nowhere(host: ipaddress.IPv4Address, port: int) -> None:
    assert ANYWHERE.allows_connect(str(host), port)
    assert ANYWHERE.allows_bind(str(host), port)
    assert not NOWHERE.allows_connect(str(host), port)
    assert not NOWHERE.allows_bind(str(host), port)
    assert not ANYWHERE.lists_bind(str(host), port)


@pytest.mark.parametrize(
    ("rule", "host", "port", "allowed"),
    [
        ("10.0.0.0/8:8000-8999", "10.0.0.1", 8000, True),
        ("10.0.0.0/8:8000-8999", "10.0.0.1", 8999, True),
        ("10.0.0.0/8:8000-8999", "10.0.0.1", 9000, False),
        ("10.0.0.0/8:8000-8999", "::ffff:10.0.0.1", 8000, True),
        ("10.0.0.0/8:8000-8999", "::ffff:11.0.0.1", 8000, False),
        ("[::/0]:443", "::ffff:10.0.0.1", 443, False),
        ("*:443", "::ffff:10.0.0.1", 443, True),
        ("*:443", "fd00::1", 443, True),
        ("10.0.0.0/8:*", "10.0.0.1", 0, True),
        ("10.0.0.0/8:1-65535", "10.0.0.1", 0, False),
    ],
)
def test_connecting_and_binding_go_by_network_and_port(rule: str, host: str, port: int, allowed: bool) -> None:
    limit = Limit(rules(rule), rules(rule))
    assert limit.allows_connect(host, port) is allowed
    assert limit.allows_bind(host, port) is limit.lists_bind(host, port) is allowed


def test_what_has_no_port_needs_a_rule_for_all_ports() -> None:
    assert Limit(rules("10.0.0.0/8:*")).allows_connect("10.0.0.1", None)
    assert Limit(rules("10.0.0.0/8:0-65535")).allows_connect("10.0.0.1", None)
    assert not Limit(rules("10.0.0.0/8:0", "10.0.0.0/8:1-65535")).allows_connect("10.0.0.1", None)
    assert not Limit(rules("10.0.0.0/8:*")).allows_connect("11.0.0.1", None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "::ffff:0.0.0.0"])
def test_unspecified_destination_is_covered_by_a_star_alone(host: str) -> None:
    """The kernel goes to a loopback address instead, for "::" maybe to one of IPv4."""
    for network in ("0.0.0.0/0:*", "0.0.0.0:*", "[::/0]:*", "[::]:*"):
        assert not Limit(rules(network)).allows_connect(host, 80)
    assert Limit(rules("10.0.0.0/8:1", "*:80")).allows_connect(host, 80)


@pytest.mark.parametrize(
    ("rule", "host", "allowed"),
    [
        ("*:80", "0.0.0.0", True),
        ("*:80", "::", True),
        ("0.0.0.0/0:80", "0.0.0.0", True),
        ("0.0.0.0:80", "0.0.0.0", True),
        ("[::]:80", "::", True),
        ("10.0.0.0/8:80", "0.0.0.0", False),
        ("[fd00::/8]:80", "::", False),
        ("[::/0]:80", "0.0.0.0", False),
    ],
)
def test_binding_to_every_address_needs_a_rule_that_has_it(rule: str, host: str, allowed: bool) -> None:
    assert Limit(bind=rules(rule)).allows_bind(host, 80) is allowed


def test_port_that_the_kernel_chooses_must_be_listed() -> None:
    assert not Limit(bind=rules("*:1-65535")).allows_bind("0.0.0.0", 0)
    assert Limit(bind=rules("*:0")).allows_bind("0.0.0.0", 0)
    assert Limit(bind=rules("*:*")).allows_bind("0.0.0.0", 0)


ALICE = Subject(1000, frozenset())


def grant(name: str, limit: Limit | None = None, bind: str = "", namespace: str = "blue") -> Grant:
    spaces = NamespaceRule.parse([namespace])
    return Grant(name, None, frozenset(), spaces, frozenset({"tcp"}), rules(*bind.split()), limit=limit)


def decide(*grants: Grant, port: int | None = None, namespaces: tuple[str, ...] = ("blue",)) -> Allow | Deny:
    bind = None if port is None else ("10.0.0.1", port)
    spec = SocketSpec("blue", socket.AF_INET, socket.SOCK_STREAM, bind=bind)
    return Policy(grants).decide(ALICE, namespaces, "tcp", spec)


WEB = Limit(bind=rules("*:80", "*:8080"))


def test_grant_without_limit_wins_wherever_it_stands() -> None:
    free, limited = grant("free"), grant("limited", WEB)
    assert decide(limited, free) == decide(free, limited) == Allow(free)
    assert decide(limited, free, port=8080) == Allow(free)


def test_grant_without_limit_wins_also_where_a_limited_one_lists_the_address() -> None:
    """The broker prefers this grant if both allow the socket. A low port needs the grant that lists it."""
    free, limited = grant("free"), grant("limited", WEB, bind="*:80 *:8080")
    assert decide(limited, free, port=8080) == Allow(free)
    assert decide(limited, free, port=80) == Allow(limited, binds_as_root=True)


def test_grant_without_limit_wins_also_by_another_name_of_the_namespace() -> None:
    free, limited = grant("free", namespace="red"), grant("limited", WEB)
    assert decide(limited, free, namespaces=("blue", "red")) == Allow(free)
    assert decide(limited, namespaces=("red", "blue")) == Allow(limited)


def test_among_limited_grants_the_first_that_allows_the_address_wins() -> None:
    first, second = grant("first", Limit(bind=rules("*:9000"))), grant("second", WEB)
    assert decide(first, second) == Allow(first)
    assert decide(first, second, port=8080) == Allow(second)


def test_the_broker_binds_nothing_outside_the_limit() -> None:
    """The list of bindable addresses adds rights, and the limit removes them."""
    refused = decide(grant("walled", WEB, bind="*:*"), port=443)
    assert refused == Deny("port 443 of 10.0.0.1 is not in limit.bind of grant 'walled'")
    assert isinstance(decide(grant("nowhere", Limit(bind=())), port=8080), Deny)
    only_connect = grant("goes nowhere", Limit(connect=()), bind="*:443")
    assert decide(only_connect, port=443) == Allow(only_connect, binds_as_root=True)


def test_low_port_of_the_limit_is_bound_without_any_rights() -> None:
    """The client could bind it by itself. A missing limit opens no low port."""
    limited = grant("web", WEB)
    assert decide(limited, port=80) == Allow(limited)
    assert isinstance(decide(grant("no list", Limit(connect=())), port=80), Deny)


def test_only_kinds_that_are_known_to_be_held_can_be_limited() -> None:
    """A list of what is allowed: nothing that is true of a kind, like having ports, makes it one that is held."""
    held = {kind for kind in KINDS if why_no_limit(kind) is None}
    protocols = (1, 2, 6, 17, 47, 50, 51, 58, 89, 103, 112, 132, 136)
    raw = {KIND_OF_TRIPLE[socket.AF_INET, socket.SOCK_RAW, protocol] for protocol in protocols}
    assert held == {"tcp", "udp", "udplite", "mptcp", "sctp", "icmp"} | raw
    assert {kind for kind in KINDS if why_no_bind_limit(kind) is None} == {"tcp", "udp", "udplite", "mptcp", "sctp"}


@pytest.mark.parametrize("kind", ["dccp", "raw:new", "tcp2", ""])
def test_kind_that_is_new_can_not_be_limited(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Not even if it has ports."""
    for module in ("nsbrokerd.policy.kinds", "nsbrokerd.policy.limit"):
        monkeypatch.setattr(f"{module}.PORT_KINDS", PORT_KINDS | {kind}, raising=False)
    assert why_no_limit(kind) == "the seal does not know this kind"
    assert why_no_bind_limit(kind) == "the seal does not know this kind"
