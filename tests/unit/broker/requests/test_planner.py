"""Plans that are kept are those that would be made anew."""

from __future__ import annotations

import os
import socket

import pytest

from nsbroker.wire import OpenRequest, SocketSpec
from nsbrokerd.namespaces.netns import NamespaceNotFoundError
from nsbrokerd.namespaces.sent import SentNamespaces
from nsbrokerd.policy import Grant, NamespaceRule, Policy, Subject
from nsbrokerd.policy.plans import Refusal
from nsbrokerd.requests.planner import Planner

ANN, BOB = Subject(1000, frozenset({1000})), Subject(1001, frozenset({1001}))
TCP = SocketSpec("blue", int(socket.AF_INET), int(socket.SOCK_STREAM))


def planner(*users: int) -> Planner:
    """A planner whose policy grants these users TCP in blue, without sent descriptors."""
    grant = Grant("g", frozenset(users), frozenset(), NamespaceRule.parse(["blue"]), frozenset({"tcp"}))
    return Planner(Policy((grant,)), SentNamespaces(os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)))


def test_one_user_gets_nothing_by_what_another_was_granted() -> None:
    plans = planner(ANN.uid)
    granted = plans.plan(ANN, OpenRequest(1, (TCP,)), ())
    assert not isinstance(granted, Refusal)
    assert plans.plan(ANN, OpenRequest(2, (TCP,)), ()) is granted
    assert isinstance(plans.plan(BOB, OpenRequest(3, (TCP,)), ()), Refusal)


def test_who_is_granted_the_same_shares_the_plans() -> None:
    """A user that can choose among many groups can't fill the memory with plans."""
    plans = planner(ANN.uid)
    for group in range(20_000):
        assert not isinstance(plans.plan(Subject(ANN.uid, frozenset({group})), OpenRequest(1, (TCP,)), ()), Refusal)
    assert len(plans._known) < 100


@pytest.mark.parametrize(
    "other",
    [
        TCP._replace(namespace="red"),
        TCP._replace(type=int(socket.SOCK_DGRAM)),
        TCP._replace(bind=("0.0.0.0", 80)),
        TCP._replace(options=((int(socket.SOL_SOCKET), int(socket.SO_MARK), 1),)),
    ],
)
def test_another_socket_is_decided_anew(other: SocketSpec) -> None:
    plans = planner(ANN.uid)
    assert not isinstance(plans.plan(ANN, OpenRequest(1, (TCP,)), ()), Refusal)
    assert isinstance(plans.plan(ANN, OpenRequest(2, (other,)), ()), Refusal)
    assert isinstance(plans.plan(ANN, OpenRequest(3, (TCP, other)), ()), Refusal)


def test_a_name_that_can_be_none_is_told_with_its_place() -> None:
    with pytest.raises(NamespaceNotFoundError) as caught:
        planner(ANN.uid).plan(ANN, OpenRequest(1, (TCP, TCP._replace(namespace="a/b"))), ())
    assert caught.value.position == 1


def test_what_is_long_is_not_kept() -> None:
    """A client can make options as long as a packet, and others with each request."""
    plans = planner(ANN.uid)
    options = ((int(socket.SOL_SOCKET), int(socket.SO_REUSEADDR), bytes(256)),) * 32
    assert not isinstance(plans.plan(ANN, OpenRequest(1, (TCP._replace(options=options),)), ()), Refusal)
    assert not plans._known


def test_what_is_kept_is_bounded() -> None:
    grant = Grant("g", None, frozenset(), NamespaceRule.parse(["*"]), frozenset({"tcp"}))
    plans = Planner(Policy((grant,)), SentNamespaces(os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)))
    for number in range(20_000):
        plans.plan(ANN, OpenRequest(1, (TCP._replace(namespace=f"blue{number}"),)), ())
    assert len(plans._known) <= 16_384
