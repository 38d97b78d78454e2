"""A decision for many sockets of a batch is the decision that each of them would get alone."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsbroker.wire import SocketSpec
from nsbrokerd.policy import AddressRule, Grant, Limit, NamespaceRule, OptionRule, Policy, Subject
from nsbrokerd.policy.plans import PlannedSocket, Refusal, plan

WHO = Subject(1000, frozenset())
INET, INET6, STREAM, DGRAM = (
    int(one) for one in (socket.AF_INET, socket.AF_INET6, socket.SOCK_STREAM, socket.SOCK_DGRAM)
)
EDGES = (0, 1, 79, 80, 81, 442, 443, 444, 1023, 1024, 1025, 7999, 8000, 8001, 8999, 9000, 65534, 65535)
RULES = ("*:80", "*:443", "10.0.0.0/8:80", "10.0.0.1/32:8000-8999", "[fd00::/8]:1-1024", "*:*", "*:0", "*:65535")
SENT = {0: ["blue", "red"], 1: []}

rules = st.lists(st.sampled_from(RULES), max_size=3).map(lambda texts: tuple(map(AddressRule.parse, texts)))
grants = st.builds(
    Grant,
    st.sampled_from(["one", "two", "three"]),
    st.none(),
    st.just(frozenset()),
    st.lists(st.sampled_from(["blue", "red", "*", "!red", "@host"]), min_size=1, max_size=2).map(NamespaceRule.parse),
    st.sets(st.sampled_from(["tcp", "udp", "unix", "packet"]), min_size=1).map(frozenset),
    rules,
    st.sampled_from([(), (OptionRule.parse("mark=0x10"),)]),
    st.one_of(st.none(), st.builds(Limit, st.none(), st.one_of(st.none(), rules))),
)
v4 = st.tuples(st.sampled_from(["10.0.0.1", "10.0.0.2", "0.0.0.0"]), st.sampled_from(EDGES))
v6 = st.tuples(st.sampled_from(["::", "fd00::1"]), st.sampled_from(EDGES), st.just(0), st.integers(0, 1))
inet = st.one_of(
    st.tuples(st.just(INET), st.one_of(st.none(), v4)), st.tuples(st.just(INET6), st.one_of(st.none(), v6))
)
specs = st.builds(
    lambda namespace, family_and_bind, kind, listen, options: SocketSpec(
        namespace, family_and_bind[0], kind, 0, family_and_bind[1], listen, options
    ),
    st.sampled_from(["blue", "red", "@host", 0, 1]),
    inet,
    st.sampled_from([STREAM, DGRAM]),
    st.sampled_from([None, 5]),
    st.sampled_from([(), ((1, 36, 16),), ((1, 36, 17),)]),
)


@st.composite
def batches(draw: st.DrawFn) -> list[SocketSpec]:
    """Sockets of a few shapes, each with some ports: neighbours often differ in their port alone."""
    batch: list[SocketSpec] = []
    for shape in draw(st.lists(specs, min_size=1, max_size=3)):
        for port in draw(st.lists(st.sampled_from(EDGES), min_size=1, max_size=6)):
            bind = shape.bind and (shape.bind[0], port, *shape.bind[2:])
            batch.append(shape._replace(bind=bind))
    return batch


@given(st.lists(grants, max_size=4).map(tuple), batches())
def test_batch_is_decided_as_its_sockets(policy_grants: tuple[Grant, ...], batch: list[SocketSpec]) -> None:
    together = plan(batch, Policy(policy_grants), WHO, SENT)
    alone = [plan([spec], Policy(policy_grants), WHO, SENT) for spec in batch]
    refused = next((index for index, one in enumerate(alone) if isinstance(one, Refusal)), None)
    if refused is not None:
        refusal = alone[refused]
        assert isinstance(refusal, Refusal)
        assert together == refusal._replace(spec_index=refused)
        return
    assert not isinstance(together, Refusal)
    planned = sorted((one for group in together for one in group.sockets), key=lambda one: one.position)
    for index, (one, single) in enumerate(zip(planned, alone, strict=True)):
        assert not isinstance(single, Refusal)
        [[_, _, [expected]]] = single
        assert isinstance(one, PlannedSocket)
        assert one == expected._replace(position=index)


def listener(port: int, host: str = "10.0.0.1", **changes: object) -> SocketSpec:
    return SocketSpec("blue", INET, STREAM, 0, (host, port), 5)._replace(**changes)


def grant(**fields: object) -> Grant:
    made = Grant("g", None, frozenset(), NamespaceRule.parse(["blue"]), frozenset({"tcp"}))
    return replace(made, **fields)  # type: ignore[arg-type]  # a test names fields of a grant


LISTED = grant(bind=(AddressRule.parse("10.0.0.1/32:8000-8999"),))
LIMITED = grant(limit=Limit(None, (AddressRule.parse("10.0.0.1/32:8000-8999"),)))


@pytest.mark.parametrize(
    ("batch", "as_root"),
    [
        ([listener(8999), listener(9000)], [True, False]),
        ([listener(7999), listener(8000), listener(7999)], [False, True, False]),
        ([listener(8000), listener(8000, "10.0.0.2")], [True, False]),
        ([listener(8000, "10.0.0.2"), listener(8000), listener(8999)], [False, True, True]),
        ([listener(8000), listener(9000), listener(8999), listener(9001)], [True, False, True, False]),
    ],
)
def test_each_port_is_bound_with_its_own_rights(batch: list[SocketSpec], as_root: list[bool]) -> None:
    planned = plan(batch, Policy((LISTED,)), WHO, {})
    assert not isinstance(planned, Refusal)
    assert [one.binds_as_root for one in planned[0].sockets] == as_root


@pytest.mark.parametrize(
    ("own", "batch", "index"),
    [
        (LIMITED, [listener(8999), listener(9000)], 1),
        (LIMITED, [listener(8000), listener(8001), listener(7999)], 2),
        (LIMITED, [listener(8000), listener(8001, "10.0.0.2")], 1),
        (grant(), [listener(1024), listener(1023)], 1),
        (grant(), [listener(0), listener(1)], 1),
        (grant(), [listener(8000), listener(8001, namespace="red")], 1),
        (grant(), [listener(8000), listener(8001, type=DGRAM)], 1),
        (grant(), [listener(8000), listener(8000, options=((1, 36, 16),))], 1),
        (grant(), [SocketSpec("blue", INET, STREAM), SocketSpec("blue", INET, STREAM, 0, ("10.0.0.1", 80))], 1),
    ],
)
def test_refused_socket_is_refused_behind_an_allowed_one(own: Grant, batch: list[SocketSpec], index: int) -> None:
    refused = plan(batch, Policy((own,)), WHO, {})
    assert isinstance(refused, Refusal)
    assert refused.spec_index == index


def test_one_decision_is_made_for_all_ports_of_a_range() -> None:
    """It is the point of it: a batch of 253 listeners asks the rules once."""
    asked: list[int] = []

    class Counting(Policy):
        def decide(self, *arguments: object) -> object:  # type: ignore[override]  # it counts
            asked.append(1)
            return super().decide(*arguments)  # type: ignore[arg-type]

    grant = Grant("g", None, frozenset(), NamespaceRule.parse(["*"]), frozenset({"tcp"}))
    batch = [SocketSpec("blue", INET, STREAM, 0, ("0.0.0.0", 2000 + index), 5) for index in range(253)]
    assert not isinstance(plan(batch, Counting((grant,)), WHO, {}), Refusal)
    assert len(asked) == 1


def test_sockets_of_many_shapes_ask_for_no_ranges_of_ports() -> None:
    """Each needs a decision of its own in any case, and a policy can have thousands of rules."""
    asked: list[int] = []

    class Counting(Policy):
        def first_ports(self, *arguments: object) -> tuple[int, ...]:
            asked.append(1)
            return super().first_ports(*arguments)  # type: ignore[arg-type]

    batch = [listener(2000, listen=1 + index % 2) for index in range(100)]
    everywhere = grant(namespaces=NamespaceRule.parse(["*"]))
    assert not isinstance(plan(batch, Counting((everywhere,)), WHO, {}), Refusal)
    assert not asked


def test_names_of_clients_take_no_memory_for_ranges_of_ports() -> None:
    """A user whose grant has a pattern can name thousands of namespaces, which need not exist."""
    everywhere = grant(namespaces=NamespaceRule.parse(["*"]), bind=LISTED.bind)
    policy = Policy((everywhere, grant(kinds=frozenset({"udp"}))))
    found = {id(policy.first_ports(WHO, (f"blue{index}",), "tcp")) for index in range(1000)}
    assert len(found) == 1
    assert policy.first_ports(WHO, ("blue",), "tcp") == (0, 1, 1024, 8000, 9000)
    assert policy.first_ports(WHO, ("blue",), "udp") == (0, 1, 1024)
