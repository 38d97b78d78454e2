"""The decision of the policy: the grant that allows the socket, or the missing right."""

from __future__ import annotations

import socket
import tracemalloc
from collections.abc import Callable, Iterable, Iterator

import pytest

from nsbroker.wire import SocketSpec
from nsbrokerd.policy import AddressRule, Allow, Deny, Grant, NamespaceRule, OptionRule, Policy, Subject

ALICE = Subject(1000, frozenset({1000, 50}))
BOB = Subject(1001, frozenset({1001}))
ROOT = Subject(0, frozenset({0}))


def grant(
    name: str = "web",
    users: Iterable[int] | None = (1000,),
    groups: Iterable[int] = (),
    namespaces: Iterable[str] = ("blue",),
    kinds: Iterable[str] = ("tcp",),
    bind: Iterable[str] = (),
    options: Iterable[str] = (),
) -> Grant:
    return Grant(
        name,
        None if users is None else frozenset(users),
        frozenset(groups),
        NamespaceRule.parse(list(namespaces)),
        frozenset(kinds),
        tuple(map(AddressRule.parse, bind)),
        tuple(map(OptionRule.parse, options)),
    )


def spec(port: int | None = None, options: tuple[tuple[int, int, int | bytes], ...] = ()) -> SocketSpec:
    bind = None if port is None else ("0.0.0.0", port)
    return SocketSpec("blue", socket.AF_INET, socket.SOCK_STREAM, bind=bind, options=options)


def reason(decision: Allow | Deny) -> str:
    assert isinstance(decision, Deny)
    return decision.reason


def test_without_any_grant_root_is_denied_too() -> None:
    assert "uid 0" in reason(Policy(()).decide(ROOT, ["blue"], "tcp", spec()))


def test_a_grant_is_for_its_users_and_groups_alone() -> None:
    policy = Policy((grant(users=[1001]), grant("by group", users=[], groups=[50])))
    assert policy.decide(BOB, ["blue"], "tcp", spec()) == Allow(policy.grants[0])
    assert policy.decide(ALICE, ["blue"], "tcp", spec()) == Allow(policy.grants[1])
    assert "no grant covers uid 0" in reason(policy.decide(ROOT, ["blue"], "tcp", spec()))


def test_a_grant_for_everyone_is_for_everyone() -> None:
    policy = Policy((grant(users=None),))
    assert all(isinstance(policy.decide(who, ["blue"], "tcp", spec()), Allow) for who in (ALICE, BOB, ROOT))


def test_the_reason_says_what_was_missing() -> None:
    policy = Policy((grant(),))
    assert "namespace 'red'" in reason(policy.decide(ALICE, ["red"], "tcp", spec()))
    assert "grant 'web' allows no udp sockets in namespace 'blue'" in reason(
        policy.decide(ALICE, ["blue"], "udp", spec())
    )
    assert "port 80" in reason(policy.decide(ALICE, ["blue"], "tcp", spec(80)))
    assert "mark=0x10" in reason(policy.decide(ALICE, ["blue"], "tcp", spec(options=((1, 36, 16),))))


def test_one_grant_must_allow_the_whole_of_it() -> None:
    """A namespace of one grant and a kind of another do not add up to a socket."""
    policy = Policy((grant("a", namespaces=["blue"], kinds=["tcp"]), grant("b", namespaces=["red"], kinds=["udp"])))
    assert "blue" in reason(policy.decide(ALICE, ["blue"], "udp", spec()))
    both = Policy((grant("a", bind=["*:80"]), grant("b", options=["mark=0x10"])))
    assert isinstance(both.decide(ALICE, ["blue"], "tcp", spec(80, ((1, 36, 16),))), Deny)


def test_a_low_port_needs_to_be_listed_and_a_high_one_does_not() -> None:
    policy = Policy((grant("plain"), grant("low", bind=["*:80", "*:9000"])))
    assert policy.decide(ALICE, ["blue"], "tcp", spec(80)) == Allow(policy.grants[1], binds_as_root=True)
    assert policy.decide(ALICE, ["blue"], "tcp", spec(9000)) == Allow(policy.grants[1], binds_as_root=True)
    assert policy.decide(ALICE, ["blue"], "tcp", spec(8080)) == Allow(policy.grants[0])
    assert policy.decide(ALICE, ["blue"], "tcp", spec(0)) == Allow(policy.grants[0])
    assert isinstance(policy.decide(ALICE, ["blue"], "tcp", spec(1023)), Deny)
    assert policy.decide(ALICE, ["blue"], "tcp", spec(1024)) == Allow(policy.grants[0])


def test_every_address_of_a_multi_homed_socket_must_be_listed() -> None:
    """One grant lists the low port. On a high port, an unlisted address takes the broker's rights away."""
    policy = Policy(
        (grant(kinds=["sctp"], bind=["10.0.0.0/8:*"]), grant("other", kinds=["sctp"], bind=["11.0.0.0/8:*"]))
    )
    low = SocketSpec("blue", 2, 1, 132, ("10.0.0.1", 80), also=(("10.0.0.2", 80),))
    assert policy.decide(ALICE, ["blue"], "sctp", low) == Allow(policy.grants[0], binds_as_root=True)
    mixed = low._replace(also=(("10.0.0.2", 80), ("11.0.0.1", 80)))
    assert "port 80 of 11.0.0.1 is not" in reason(policy.decide(ALICE, ["blue"], "sctp", mixed))
    high = low._replace(bind=("10.0.0.1", 8080), also=(("11.0.0.1", 8080),))
    assert policy.decide(ALICE, ["blue"], "sctp", high) == Allow(policy.grants[0])


def test_an_option_that_the_broker_never_sets_is_denied_in_every_grant() -> None:
    policy = Policy((grant(options=["mark=1", "transparent", "bind_device=*"]),))
    assert "option 33" in reason(policy.decide(ALICE, ["blue"], "tcp", spec(options=((1, 33, 1),))))


def test_a_namespace_of_several_names_is_allowed_by_any_of_them() -> None:
    policy = Policy((grant(namespaces=["red"]),))
    assert isinstance(policy.decide(ALICE, ["blue", "red"], "tcp", spec()), Allow)
    assert isinstance(policy.decide(ALICE, ["blue", "@own"], "tcp", spec()), Deny)
    assert "no name" in reason(policy.decide(ALICE, [], "tcp", spec()))


@pytest.mark.parametrize("kind", ["unix", "packet", "icmp", "raw:icmp"])
def test_what_has_no_privileged_ports_may_be_bound_by_anybody_who_has_it(kind: str) -> None:
    policy = Policy((grant(kinds=[kind]),))
    assert policy.decide(ALICE, ["blue"], kind, spec(80)) == Allow(policy.grants[0])


def test_what_was_decided_once_is_decided_the_same_again() -> None:
    """The memo of matching grants keeps apart subjects, namespaces and kinds."""
    policy = Policy((grant(),))
    for _ in range(2):
        assert isinstance(policy.decide(ALICE, ["blue"], "tcp", spec()), Allow)
        assert isinstance(policy.decide(BOB, ["blue"], "tcp", spec()), Deny)
        assert isinstance(policy.decide(ALICE, ["red"], "tcp", spec()), Deny)
        assert isinstance(policy.decide(ALICE, ["blue"], "udp", spec()), Deny)
        assert isinstance(policy.decide(ALICE, ["blue"], "tcp", spec(22)), Deny)


def names() -> Iterator[tuple[Subject, str]]:
    """One user tries many names, granted and others."""
    for number in range(20_000):
        yield BOB, f"{number}".rjust(250, "\1")
        yield ALICE, f"{number}".rjust(250, "\1")


def groups() -> Iterator[tuple[Subject, str]]:
    """One user that goes through groups, as newgidmap(1) lets it."""
    for number in range(3_000):
        yield Subject(1000, frozenset(range(256 * number + 1000, 256 * number + 1256))), "blue"


@pytest.mark.parametrize(("questions", "most_bytes"), [(names, 4_000_000), (groups, 20_000_000)])
def test_what_clients_choose_takes_little_memory(
    questions: Callable[[], Iterator[tuple[Subject, str]]], most_bytes: int
) -> None:
    """Without bounds it would be twice as much here, and in no time a gigabyte."""
    policy = Policy((grant(namespaces=["*"]),))
    tracemalloc.start()
    try:
        for subject, namespace in questions():
            policy.decide(subject, [namespace], "tcp", spec())
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < most_bytes
