"""A request that waits for an engine counts by what it takes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from nsbroker import wire
from nsbrokerd.policy import Policy
from nsbrokerd.requests.containers import MAX_FOR_USER
from nsbrokerd.requests.open import OpenSockets

SPEC = wire.SocketSpec("podman:web", 2, 1)


def amount(count: int, *, is_grouped: bool = False, stock: int = 0) -> int:
    """Return how much a request for so many sockets of a container counts."""
    operation = object.__new__(OpenSockets)
    operation._in_force = SimpleNamespace(policy=Policy((), frozenset({"podman"})))  # type: ignore[assignment]  # all that this asks for
    request = wire.OpenRequest(1, (SPEC,) * count, 0, stock, is_grouped)
    received = SimpleNamespace(request=request, fds=[], packet=wire.encode_request(request))
    return operation.quota_of(received).amount  # type: ignore[arg-type]  # the part that it reads


def test_group_counts_as_its_sockets_and_not_as_its_bytes() -> None:
    """253 sockets are 53 bytes."""
    assert amount(253, is_grouped=True) >= amount(253, is_grouped=False) > 4
    assert amount(253, is_grouped=True) < MAX_FOR_USER


def test_stock_counts_as_its_sockets() -> None:
    """Their descriptors are all made at once, in each of the tasks that a user may have."""
    assert amount(1, stock=253) == amount(253, is_grouped=True) > 4


@pytest.mark.parametrize("is_grouped", [False, True])
def test_small_request_counts_once(is_grouped: bool) -> None:
    assert amount(2, is_grouped=is_grouped) == 1
