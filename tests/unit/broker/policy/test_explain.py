"""Explanations: they agree with the decision, and the missing rules that they name are the right ones."""

from __future__ import annotations

import socket
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from nsbroker.wire import BAD_REQUEST, Address, Explanation, SocketSpec
from nsbrokerd.policy import AddressRule, Allow, Deny, Grant, Limit, NamespaceRule, OptionRule, Policy, Subject
from nsbrokerd.policy.explain import explain
from nsbrokerd.policy.kinds import KIND_OF_TRIPLE, PORT_KINDS, triple_of
from nsbrokerd.policy.plans import Refusal

ALICE = Subject(1000, frozenset({1000}))
INET, INET6 = int(socket.AF_INET), int(socket.AF_INET6)
STREAM, DGRAM, RAW = int(socket.SOCK_STREAM), int(socket.SOCK_DGRAM), int(socket.SOCK_RAW)
MARK, TRANSPARENT, REUSE = (1, 36, 16), (0, 19, 1), (1, 2, 1)


def rules(*texts: str) -> tuple[AddressRule, ...]:
    return tuple(map(AddressRule.parse, texts))


def grant(name: str = "web", namespaces: tuple[str, ...] = ("blue",), **fields: object) -> Grant:
    made = Grant(name, frozenset({1000}), frozenset(), NamespaceRule.parse(namespaces), frozenset({"tcp"}))
    return replace(made, **fields)  # type: ignore[arg-type]  # a test names fields of a grant


def tcp(**fields: object) -> SocketSpec:
    return SocketSpec("blue", INET, STREAM)._replace(**fields)


def explained(spec: SocketSpec, *grants: Grant, connect: Address | None = None) -> Explanation:
    answer = explain(spec, connect, Policy(grants), ALICE, {})
    assert isinstance(answer, Explanation)
    return answer


texts = st.sampled_from(["*:*", "*:80", "10.0.0.0/8:1-90", "10.0.0.1:*", "[::]:80", "[fd00::/8]:*", "0.0.0.0:443"])
some_rules = st.lists(texts.map(AddressRule.parse), max_size=3).map(tuple)
limits = st.one_of(st.none(), st.builds(Limit, some_rules, st.one_of(st.none(), some_rules)), st.just(Limit(())))
kinds = st.sampled_from([{"tcp", "udp", "raw:icmp"}, {"tcp", "icmp"}, {"udp"}, {"icmp", "raw:icmp"}]).map(frozenset)
options = st.lists(st.sampled_from(["mark=0x10", "transparent"]).map(OptionRule.parse), max_size=2).map(tuple)
users = st.sampled_from([frozenset({1000}), None, frozenset({1000, 5}), frozenset({1001})])
namespaces = st.sampled_from([["blue"], ["*"], ["blue", "@host"], ["*", "!blue"]]).map(NamespaceRule.parse)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    count = draw(st.sampled_from([3, 2, 1, 0]))
    made = [
        Grant(f"g{number}", draw(users), frozenset(), draw(namespaces), draw(kinds), draw(some_rules), draw(options))
        for number in range(count)
    ]
    return Policy(tuple(replace(one, limit=draw(limits)) for one in made))


def addresses(family: int) -> st.SearchStrategy[Address]:
    v4, v6 = ["0.0.0.0", "10.0.0.1", "192.0.2.1"], ["::", "fd00::1", "::ffff:10.0.0.1", "2001:db8::1"]
    host = st.sampled_from(v4 if family == INET else v6)
    port = st.sampled_from([0, 80, 443, 8080])
    return st.builds(lambda host, port: (host, port) if family == INET else (host, port, 0, 0), host, port)


@st.composite
def questions(draw: st.DrawFn) -> tuple[SocketSpec, Address | None]:
    family = draw(st.sampled_from([INET, INET6]))
    kind = draw(st.sampled_from([(STREAM, 0), (DGRAM, 0), (DGRAM, 1 if family == INET else 58), (RAW, 1), (RAW, 254)]))
    asked = draw(st.sampled_from([(), (), (REUSE,), (MARK,), (TRANSPARENT,), (MARK, TRANSPARENT)]))
    bind = draw(st.one_of(st.none(), addresses(family)))
    name = draw(st.sampled_from(["blue", "blue", "red", "@host"]))
    return SocketSpec(name, family, *kind, bind, None, asked), draw(st.one_of(addresses(family), st.none()))


@given(policies(), questions())
def test_explanation_is_the_decision(policy: Policy, question: tuple[SocketSpec, Address | None]) -> None:
    """It is allowed if the policy decides so, and if the limit of the same grant allows the connection."""
    spec, connect = question
    answer = explain(spec, connect, policy, ALICE, {})
    assert isinstance(answer, Explanation)
    kind = KIND_OF_TRIPLE.get(triple_of(spec))
    if kind is None:
        assert (answer.by, answer.grants) == (None, ())
        return
    decision = policy.decide(ALICE, (str(spec.namespace),), kind, spec)
    if isinstance(decision, Deny):
        assert (answer.reason, answer.by, answer.binds_as_root) == (decision.reason, None, False)
        return
    assert answer.by is not None
    assert (answer.grants[answer.by].name, answer.binds_as_root) == (decision.grant.name, decision.binds_as_root)
    port = None if connect is None or kind not in PORT_KINDS else int(connect[1])
    limit = decision.grant.limit or Limit()
    assert (answer.reason is None) == (connect is None or limit.allows_connect(str(connect[0]), port))


@given(policies(), questions())
def test_grant_with_the_rules_that_it_lacks_allows_everything(
    policy: Policy, question: tuple[SocketSpec, Address | None]
) -> None:
    """The rules suffice, and each of them is needed. A grant that lacks none allows everything alone."""
    spec, connect = question
    answer = explain(spec, connect, policy, ALICE, {})
    assert isinstance(answer, Explanation)
    by_name = {one.name: one for one in policy.grants}
    for summary, lacks in zip(answer.grants, answer.lacks, strict=True):
        needed = list(dict.fromkeys(lacks))
        assert explained(spec, extended(by_name[summary.name], needed), connect=connect).reason is None
        for left_out in needed:
            others = [lack for lack in needed if lack != left_out]
            assert explained(spec, extended(by_name[summary.name], others), connect=connect).reason is not None


def extended(grant: Grant, lacks: list[tuple[str, str]]) -> Grant:
    """Return the grant with further rules."""
    for key, rule in lacks:
        if key == "sockets":
            grant = replace(grant, kinds=grant.kinds | {rule})
        elif key == "options":
            grant = replace(grant, options=(*grant.options, OptionRule.parse(rule)))
        elif key == "bind":
            grant = replace(grant, bind=grant.bind + rules(rule))
        else:
            assert grant.limit is not None
            part = key.removeprefix("limit.")
            limit = replace(grant.limit, **{part: (getattr(grant.limit, part) or ()) + rules(rule)})
            grant = replace(grant, limit=limit)
    return grant


def test_every_missing_rule_is_named() -> None:
    """Options, addresses to bind and to connect to, and the kind."""
    limited = grant("limited", kinds=frozenset({"udp"}), limit=Limit(rules("10.0.0.0/8:443"), rules("*:80")))
    spec = tcp(bind=("10.0.0.1", 81), options=(MARK, TRANSPARENT))
    answer = explained(spec, grant(), limited, connect=("10.0.0.1", 80))
    assert answer.lacks == (
        (("options", "mark=0x10"), ("options", "transparent"), ("bind", "10.0.0.1:81")),
        (
            ("sockets", "tcp"),
            ("options", "mark=0x10"),
            ("options", "transparent"),
            ("limit.bind", "10.0.0.1:81"),
            ("limit.connect", "10.0.0.1:80"),
        ),
    )
    assert [one.name for one in answer.grants] == ["web", "limited"]


def test_connection_outside_of_the_limit_is_denied_and_the_socket_is_not() -> None:
    answer = explained(tcp(), grant(limit=Limit(rules("10.0.0.0/8:443"))), connect=("10.0.0.1", 444))
    assert (answer.reason, answer.by) == ("port 444 of 10.0.0.1 is not in limit.connect of grant 'web'", 0)
    icmp = SocketSpec("blue", INET, DGRAM, 1)
    limited = grant(kinds=frozenset({"icmp"}), limit=Limit(rules("10.0.0.0/8:443")))
    answer = explained(icmp, limited, connect=("10.0.0.1", 0))
    assert answer.reason == "10.0.0.1:* is not in limit.connect of grant 'web'"
    assert answer.lacks == ((("limit.connect", "10.0.0.1:*"),),)


def test_grant_that_is_not_preferred_lacks_nothing() -> None:
    """The broker takes the first grant for the socket, whatever the client connects to."""
    first, second = grant("first", limit=Limit(())), grant("second", limit=Limit(rules("*:80")))
    answer = explained(tcp(), first, second, connect=("10.0.0.1", 80))
    assert (answer.by, answer.lacks) == (0, ((("limit.connect", "10.0.0.1:80"),), ()))
    assert "limit.connect of grant 'first'" in str(answer.reason)


def test_only_the_subjects_grants_for_the_namespace_are_shown() -> None:
    others = grant("of another user", users=frozenset({1001}))
    elsewhere = grant("elsewhere", ("red",))
    answer = explained(tcp(), others, elsewhere)
    assert (answer.reason, answer.grants) == ("no grant of uid 1000 covers namespace 'blue'", ())
    assert [one.name for one in explained(tcp(), others, elsewhere, grant()).grants] == ["web"]
    assert explained(tcp(), others).reason == "no grant covers uid 1000 or its groups"


def test_socket_that_no_grant_could_allow_shows_no_grants() -> None:
    answer = explained(tcp(proto=254), grant())
    assert "no kind of socket that a grant can name" in str(answer.reason)
    assert answer.grants == ()
    answer = explained(tcp(options=((1, 1, 1),)), grant())
    assert "the broker does not set option 1" in str(answer.reason)
    assert answer.grants == ()


def test_bad_request_is_refused_as_by_open() -> None:
    unix = SocketSpec("blue", int(socket.AF_UNIX), STREAM, listen=5)
    answer = explain(unix, None, Policy((grant(kinds=frozenset({"unix"})),)), ALICE, {})
    assert isinstance(answer, Refusal)
    assert (answer.code, answer.spec_index) == (BAD_REQUEST, 0)


def test_namespace_that_was_sent_has_the_grants_of_all_its_names() -> None:
    policy = Policy((grant("a", ("blue",)), grant("b", ("@own",)), grant("c", ("red",))))
    answer = explain(tcp(namespace=0), None, policy, ALICE, {0: ["blue", "@own"]})
    assert isinstance(answer, Explanation)
    assert [one.name for one in answer.grants] == ["a", "b"]
    answer = explain(tcp(namespace=0), None, policy, ALICE, {0: []})
    assert isinstance(answer, Explanation)
    assert (answer.by, answer.grants) == (None, ())
    assert "no grant covers the namespace you sent" in str(answer.reason)
    assert isinstance(policy.decide(ALICE, ["blue"], "tcp", tcp()), Allow)
