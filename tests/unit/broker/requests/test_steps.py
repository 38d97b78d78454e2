"""Large requests are served in steps, by the policy that holds at their end."""

from __future__ import annotations

import os
import socket
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from nsbroker.wire import (
    DENIED,
    OpenReply,
    OpenRequest,
    ResolverFiles,
    ResolverRequest,
    SocketSpec,
    encode_request,
    encode_resolver_files,
)
from nsbrokerd.clients.client import Person
from nsbrokerd.clients.peer import Peer
from nsbrokerd.namespaces.netns import Gate
from nsbrokerd.namespaces.resolver_files import MAX_FILE_BYTES, read_in_steps
from nsbrokerd.namespaces.sent_descriptors import SentNamespaces
from nsbrokerd.policy import Grant, NamespaceRule, Policy, Subject
from nsbrokerd.policy.plans import Refusal, plan_in_steps
from nsbrokerd.requests import resolver
from nsbrokerd.requests.answers import Answers
from nsbrokerd.requests.open import OpenSockets
from nsbrokerd.requests.operation import Answer, InForce, Received
from nsbrokerd.requests.resolver import ReadResolverFiles
from nsbrokerd.sockets.batch import OpenGroup
from nsbrokerd.sockets.time_slice import TimeSlice, pace
from support.steps import count_steps, finish

ANN = Subject(1000, frozenset())
TCP = SocketSpec("@host", socket.AF_INET, socket.SOCK_STREAM)
ALLOWS = Policy((Grant("some", None, frozenset(), NamespaceRule.parse(["@host"]), frozenset({"tcp"})),))
DENIES = Policy(())


class NoTime(TimeSlice):
    """Each piece must end as soon as it can."""

    def is_over(self) -> bool:
        return True


class FakeOpener:
    """Makes no sockets, in one step. It notes the number of tries, and which files it shall close."""

    def __init__(self) -> None:
        self.tries = self.count = 0
        self.discarded: list[list[object]] = []

    def open_in_steps(self, groups: list[OpenGroup], *_: object) -> Generator[None, None, list[Any]]:
        self.tries += 1
        self.count = sum(len(group.sockets) for group in groups)
        yield
        return []

    def discard(self, _person: Person, files: list[object]) -> None:
        self.discarded.append(files)


def received(request: Any) -> Received[Any]:
    return Received(Peer(ANN, 1000, os.getpid()), request, [], b"", Person(1000, 0, 1))


TWO = OpenRequest(1, (TCP, TCP))
STOCK = OpenRequest(1, (TCP,), 0, 16)


def operation_by(opener: FakeOpener) -> tuple[OpenSockets, InForce]:
    gate = Gate()
    in_force = InForce(ALLOWS, opener, None)  # type: ignore[arg-type]  # fakes
    return OpenSockets(in_force, gate, SentNamespaces(gate.home_fd), TimeSlice()), in_force


def opening(opener: FakeOpener, request: OpenRequest = TWO) -> tuple[Any, InForce]:
    """The steps of a request for several sockets, after the first."""
    operation, in_force = operation_by(opener)
    steps = operation.serve(received(request))
    assert isinstance(steps, Generator)
    assert next(steps) is None
    return steps, in_force


def recalled(opener: FakeOpener) -> tuple[Any, InForce]:
    """The same for a request for a stock that is known already."""
    operation, in_force = operation_by(opener)
    packet = encode_request(STOCK)
    first = operation.serve(Received(Peer(ANN, 1000, os.getpid()), STOCK, [], packet, Person(1000, 0, 1)))
    assert isinstance(first, Generator)
    finish(first)
    known = operation.recall(ANN, packet)
    assert known is not None
    opener.tries = opener.count = 0
    steps = operation.open_recalled(received(known[0]), known[1])
    assert next(steps) is None
    return steps, in_force


@pytest.mark.parametrize("begin", [lambda opener: opening(opener, STOCK), recalled])
def test_request_for_a_stock_gets_so_many_sockets(begin: Any) -> None:
    opener = FakeOpener()
    steps, _ = begin(opener)
    assert isinstance(finish(steps), Answer)
    assert (opener.tries, opener.count) == (1, 16)


def test_recalled_request_that_a_reload_denies_meanwhile_is_refused() -> None:
    opener = FakeOpener()
    steps, in_force = recalled(opener)
    in_force.policy = DENIES
    refusal = finish(steps)
    assert isinstance(refusal, Refusal)
    assert refusal.code == DENIED
    assert (opener.tries, opener.discarded) == (1, [[]])


def test_request_that_a_reload_denies_meanwhile_is_refused() -> None:
    """What was made for it is closed."""
    opener = FakeOpener()
    steps, in_force = opening(opener)
    in_force.policy = DENIES
    refusal = finish(steps)
    assert isinstance(refusal, Refusal)
    assert refusal.code == DENIED
    assert (opener.tries, opener.discarded) == (1, [[]])


def test_request_that_a_reload_still_allows_begins_anew() -> None:
    opener = FakeOpener()
    steps, in_force = opening(opener)
    in_force.policy = Policy(ALLOWS.grants)
    answer = finish(steps)
    assert isinstance(answer, Answer)
    assert isinstance(answer.reply, OpenReply)
    assert (opener.tries, opener.discarded) == (2, [[]])


def test_files_that_a_reload_denies_meanwhile_are_not_handed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(_names: object) -> Generator[None, None, ResolverFiles]:
        yield
        return ResolverFiles("", "", "/etc/resolv.conf", {})

    monkeypatch.setattr(resolver, "read_in_steps", read)
    gate = Gate()
    in_force = InForce(ALLOWS, None, None)  # type: ignore[arg-type]  # no socket is made
    operation = ReadResolverFiles(in_force, SentNamespaces(gate.home_fd), NoTime(), Answers())
    steps = operation.serve(received(ResolverRequest(1, "@host")))
    next(steps)
    in_force.policy = DENIES
    refusal = finish(steps)
    assert isinstance(refusal, Refusal)
    assert refusal.code == DENIED


def test_large_files_are_read_in_parts(tmp_path: Path) -> None:
    """Others can be served after each part."""
    text = "\N{SNOWMAN}" * (MAX_FILE_BYTES // 3)
    (tmp_path / "hosts").write_text(text)
    cuts, files = count_steps(pace(read_in_steps([], str(tmp_path)), NoTime()))
    assert cuts >= 16
    assert files.hosts == text


@pytest.mark.parametrize("length", [0, 31, 32, 65_535, 65_536, 65_537, 200_000])
@pytest.mark.parametrize("further", [{}, {"gai.conf": "x" * 70_000, "services": ""}])
def test_files_encoded_in_parts_are_those_encoded_at_once(length: int, further: dict[str, str]) -> None:
    files = ResolverFiles("\N{SNOWMAN}" * length, "h" * length, "/etc/resolv.conf", further)
    cuts, parts = count_steps(resolver.encode_in_steps(files))
    assert b"".join(parts) == encode_resolver_files(files)
    assert cuts >= 2 * (length // 70_000)


def test_large_request_is_planned_in_steps() -> None:
    cuts, planned = count_steps(plan_in_steps([TCP] * 253, ALLOWS, ANN, {}))
    assert cuts >= 15
    assert not isinstance(planned, Refusal)
    assert [one.position for one in planned[0].sockets] == list(range(253))
