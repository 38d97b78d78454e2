"""Fixtures of several files: those that are slow to start, and those that the tests of a file share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support import namespaces
from support.brokers.process import EVERYTHING, BrokerProcess, running
from support.brokers.sealed import Place, sealed_place
from support.far_side import WAYS, Way


@pytest.fixture(scope="module")
def shared_broker() -> Iterator[BrokerProcess]:
    """One that grants everything, for all tests of a file that are not about it."""
    if reason := namespaces.why_not():
        pytest.skip(reason)
    with running(EVERYTHING) as broker:
        yield broker


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """A broker with limited and unlimited grants, two joined namespaces, and a watcher in the far one."""
    if reason := namespaces.why_not():
        pytest.skip(reason)
    with sealed_place() as made:
        yield made


@pytest.fixture(params=list(WAYS.values()), ids=list(WAYS))
def way(request: pytest.FixtureRequest) -> Way:
    """How addresses are written: IPv4, IPv6, or IPv4 in IPv6."""
    found: Way = request.param
    return found
