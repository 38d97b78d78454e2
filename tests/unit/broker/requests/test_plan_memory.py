"""Plans are remembered for one subject and one policy, in bounded memory."""

from __future__ import annotations

import os
import socket
from collections.abc import Generator

import pytest

from nsbroker.wire import NO_SUCH_NAMESPACE, OpenRequest, SocketSpec, encode_request
from nsbrokerd.clients.client import Person
from nsbrokerd.clients.peer import Peer
from nsbrokerd.namespaces.netns import Gate
from nsbrokerd.namespaces.sent_descriptors import SentNamespaces
from nsbrokerd.policy import Policy, Subject
from nsbrokerd.policy.plans import Plan, Refusal
from nsbrokerd.requests.open import OpenSockets
from nsbrokerd.requests.operation import InForce, Received
from nsbrokerd.requests.plan_memory import PlanMemory
from nsbrokerd.sockets.time_slice import TimeSlice
from support.steps import finish

ANN, BOB = Subject(1000, frozenset({1000})), Subject(1001, frozenset({1001}))
TCP = SocketSpec("blue", int(socket.AF_INET), int(socket.SOCK_STREAM))
PLAN: Plan = []


def remember(memory: PlanMemory, spec: SocketSpec, *more: SocketSpec, who: Subject = ANN, wait_s: float = 0) -> bytes:
    """Have a memory learn a request, and return its packet."""
    request = OpenRequest(1, (spec, *more), wait_s)
    packet = encode_request(request)
    memory.remember(who, packet, request, PLAN)
    return packet


def test_plan_of_one_user_is_not_recalled_for_another() -> None:
    memory = PlanMemory(Policy(()))
    packet = remember(memory, TCP)
    assert memory.recall(ANN, packet) is not None
    assert memory.recall(BOB, packet) is None
    assert memory.recall(Subject(ANN.uid, frozenset({50})), packet) is None


@pytest.mark.parametrize(
    "other",
    [
        TCP._replace(namespace="red"),
        TCP._replace(type=int(socket.SOCK_DGRAM)),
        TCP._replace(options=((int(socket.SOL_SOCKET), int(socket.SO_MARK), 1),)),
    ],
)
def test_plan_of_one_socket_is_not_recalled_for_another(other: SocketSpec) -> None:
    memory = PlanMemory(Policy(()))
    remember(memory, TCP)
    assert memory.recall(ANN, encode_request(OpenRequest(1, (other,)))) is None


def test_request_that_waits_or_binds_or_has_more_sockets_is_not_remembered() -> None:
    memory = PlanMemory(Policy(()))
    assert memory.recall(ANN, remember(memory, TCP, wait_s=1)) is None
    assert memory.recall(ANN, remember(memory, TCP._replace(bind=("0.0.0.0", 80)))) is None
    assert memory.recall(ANN, remember(memory, TCP, TCP)) is None


def test_namespace_that_was_sent_is_never_recalled() -> None:
    """The index of a descriptor means another namespace each time."""
    memory = PlanMemory(Policy(()))
    assert memory.recall(ANN, remember(memory, TCP._replace(namespace=0))) is None


def test_long_request_is_not_remembered() -> None:
    """A client can make options as long as a packet, and other ones with each request."""
    memory = PlanMemory(Policy(()))
    options = ((int(socket.SOL_SOCKET), int(socket.SO_REUSEADDR), bytes(200)),)
    assert memory.recall(ANN, remember(memory, TCP._replace(options=options))) is None
    assert memory.recall(ANN, remember(memory, TCP._replace(options=((1, 2, 1),) * 5))) is None


def test_number_of_remembered_requests_is_bounded() -> None:
    memory = PlanMemory(Policy(()))
    for number in range(20_000):
        remember(memory, TCP._replace(namespace=f"blue{number}"), who=Subject(number % 100, frozenset()))
    assert sum(map(len, memory._known.values())) <= 16_384


def test_number_of_remembered_subjects_is_bounded() -> None:
    """A user that can choose among many groups does not fill the memory with them."""
    memory = PlanMemory(Policy(()))
    for group in range(5_000):
        remember(memory, TCP, who=Subject(ANN.uid, frozenset({group})))
    assert len(memory._known) <= 1_024


def opening(policy: Policy) -> tuple[OpenSockets, InForce]:
    """The operation, with no more than decisions need."""
    gate = Gate()
    in_force = InForce(policy, None, None)  # type: ignore[arg-type]  # no socket is made
    return OpenSockets(in_force, gate, SentNamespaces(gate.home_fd), TimeSlice()), in_force


def test_reload_forgets_all_plans() -> None:
    first = Policy(())
    operation, in_force = opening(first)
    packet = remember(operation._memory, TCP)
    assert operation.recall(ANN, packet) is not None
    in_force.policy = Policy(())
    assert operation.recall(ANN, packet) is None
    in_force.policy = first
    assert operation.recall(ANN, packet) is None


def test_refusal_of_an_impossible_name_has_its_position() -> None:
    operation, _ = opening(Policy(()))
    request = OpenRequest(1, (TCP, TCP._replace(namespace="a/b")))
    steps = operation.serve(
        Received(Peer(ANN, 1000, os.getpid()), request, [], encode_request(request), Person(1000, 0, 1))
    )
    assert isinstance(steps, Generator)
    refusal = finish(steps)
    assert isinstance(refusal, Refusal)
    assert (refusal.code, refusal.spec_index, refusal.namespace) == (NO_SUCH_NAMESPACE, 1, "a/b")
