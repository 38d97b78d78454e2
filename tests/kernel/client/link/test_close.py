"""Closed means closed: after close(), no process of the broker's has a copy of the socket."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from support.after_close import MEASURES, busy, count_late
from support.brokers.process import BrokerProcess
from support.users import as_unprivileged

TRIES = 150


@pytest.mark.parametrize("loops", [0, 2], ids=["idle", "beside two busy loops"])
@pytest.mark.parametrize("measure", MEASURES)
def test_socket_is_gone_after_its_close(
    shared_broker: BrokerProcess, make_namespace: Callable[..., str], measure: str, loops: int
) -> None:
    path, name = str(shared_broker.socket_path), make_namespace()
    with busy(loops):
        assert as_unprivileged(count_late, path, name, measure, TRIES) == 0


@pytest.mark.parametrize("measure", MEASURES)
def test_sockets_of_a_batch_are_gone_as_well(
    shared_broker: BrokerProcess, make_namespace: Callable[..., str], measure: str
) -> None:
    """And so are those of a request that may wait."""
    path, name = str(shared_broker.socket_path), make_namespace()
    assert as_unprivileged(count_late, path, name, measure, 20, 200) == 0
    assert as_unprivileged(count_late, path, name, measure, 50, 1, 1.0) == 0
