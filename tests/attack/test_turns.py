"""An expensive request costs its user as many turns as it takes time, so another user's requests come first.

All requests are there before the first one is served: the order is the broker's alone. The audit shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from attack.arena import VICTIM, Arena, arena, why_not
from attack.attack import ATTACKER, Attack, Target
from attack.programs.asking import Stubborn, encoded
from attack.programs.bind_walk import BIND_WALK, end_short_cut, hold, walks
from attack.programs.garbage import GARBAGE, refused_at_its_end
from attack.programs.large_files import READ_LARGE_FILES
from attack.programs.listeners import LISTENERS, batch
from nsbroker.wire import ResolverRequest
from support.brokers.raw_client import connect_as, tcp
from support.process_state import stopped

EXPENSIVE, CHEAP = 10, 10
MOST_BEFORE = 3
"""Expensive requests that may be served before the last cheap one. Each takes as long as ten cheap ones, or longer."""

HELD = 3_000


def walk(target: Target) -> bytes:
    return walks(target.namespace)


def files(target: Target) -> bytes:
    return encoded(ResolverRequest(1, target.namespace))


REQUESTS: dict[str, tuple[Attack, Callable[[Target], bytes]]] = {
    "bind walk": (BIND_WALK, walk),
    "long requests that are refused": (GARBAGE, lambda target: refused_at_its_end(target.namespace)),
    "batches of listeners": (LISTENERS, lambda target: batch(target.namespace)),
    "large files": (READ_LARGE_FILES, files),
}


@contextmanager
def prepared(attack: Attack, place: Arena) -> Iterator[None]:
    """Hold the sockets that the binds of a bind walk must pass."""
    with Stubborn(place.target.path) as client:
        if attack is BIND_WALK:
            hold(client, place.target, 0, HELD)
            end_short_cut(client, place.target)
        yield


@pytest.mark.parametrize("name", REQUESTS, ids=lambda name: name.replace(" ", "-"))
def test_expensive_requests_come_after_the_cheap_ones_of_another_user(name: str) -> None:
    if reason := why_not():
        pytest.skip(reason)
    attack, packet = REQUESTS[name]
    with arena(attack, is_brief=True) as place, prepared(attack, place), ExitStack() as stack:
        attackers = [stack.enter_context(connect_as(ATTACKER, place.broker)) for _ in range(EXPENSIVE)]
        victim = stack.enter_context(connect_as(VICTIM, place.broker))
        assert attackers[-1].works(place.target.namespace)
        assert victim.works(place.namespace)
        before = len(place.broker.audit())
        with stopped(place.broker.pid):
            for client in attackers:
                client.send(packet(place.target))
            for number in range(CHEAP):
                victim.send(tcp(place.namespace, request_id=number))
        for client in (*attackers, *[victim] * CHEAP):
            assert client.receive() is not None
            client.close_fds()
        order = [record["uid"] for record in place.broker.audit()[before:]]
        assert (order.count(ATTACKER), order.count(VICTIM)) == (EXPENSIVE, CHEAP)
        last = len(order) - 1 - order[::-1].index(VICTIM)
        assert order[:last].count(ATTACKER) <= MOST_BEFORE
