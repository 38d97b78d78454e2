"""Beside attackers, each socket is in the namespace that has its name at that time, and the broker keeps nothing."""

from __future__ import annotations

import time

import pytest

from attack.arena import arena, why_not
from attack.churn import CLIENTS, churn
from attack.looks import look, look_at_idle
from attack.programs.connect_and_close import CONNECT_AND_CLOSE
from attack.programs.failing_packet_sockets import FAILING_PACKET_SOCKETS
from attack.programs.garbage import GARBAGE
from attack.programs.listeners import LISTENERS
from attack.programs.slow_closes import SLOW_CLOSES
from attack.table import GROWTH_KIB
from attack.trial import settled

ATTACKS = [CONNECT_AND_CLOSE, GARBAGE, LISTENERS, FAILING_PACKET_SOCKETS]
"""Small ones that occupy the broker at each of its steps."""

SOCKETS, SOCKETS_LONG = 20_000, 1_000_000
LIMIT_S, LIMIT_LONG_S = 600, 36_000
BACK_S = 120
STOCK, STOCK_SOCKETS, STOCK_SOCKETS_LONG = 16, 10_000, 100_000


def test_no_socket_is_in_the_wrong_namespace_beside_attackers(long: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Namespaces are deleted and made again meanwhile, as fast as it goes."""
    if reason := why_not():
        pytest.skip(reason)
    attacks = ATTACKS if SLOW_CLOSES.why_not() else [*ATTACKS, SLOW_CLOSES]
    count = SOCKETS_LONG if long else SOCKETS
    with arena(LISTENERS, is_brief=True) as place:
        churn(place, [], CLIENTS, LIMIT_S)  # fills the caches of the broker
        before, began = look_at_idle(place.broker), time.monotonic()
        report, generations = churn(place, attacks, count, LIMIT_LONG_S if long else LIMIT_S)
        with capsys.disabled():
            print(
                f"\nchurn: {report.sockets} sockets by {CLIENTS} clients beside {len(attacks)} attacks in"
                f" {time.monotonic() - began:.0f} s, {generations} namespaces made again; {report.missing} times there"
                f" was none, {report.refused} refused; {len(report.wrong)} wrong"
            )
        assert not report.wrong
        assert report.sockets >= count
        assert settled(place, before, BACK_S), (before, look(place.broker))
        assert look(place.broker).resident_kib <= before.resident_kib + GROWTH_KIB


def test_no_socket_from_stock_is_in_the_wrong_namespace(long: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Namespaces are deleted and made again meanwhile. Most of the sockets come from stock."""
    if reason := why_not():
        pytest.skip(reason)
    count = STOCK_SOCKETS_LONG if long else STOCK_SOCKETS
    with arena(LISTENERS, is_brief=True) as place:
        before = len(place.broker.audit())
        report, generations = churn(place, [], count, LIMIT_LONG_S if long else LIMIT_S, STOCK)
        records = place.broker.audit()[before:]
    requests = sum(one["outcome"] == "allowed" for one in records)
    lots = [len(one["sockets"]) for one in records if one.get("stock")]
    with capsys.disabled():
        print(
            f"\nchurn: {report.sockets} sockets by {CLIENTS} clients with {requests} requests, {len(lots)} of them for"
            f" a stock, {generations} namespaces made again; {report.missing} times there was none;"
            f" {len(report.wrong)} wrong"
        )
    assert not report.wrong
    assert report.sockets >= count
    assert requests < report.sockets
    assert 1 < max(lots) <= STOCK
