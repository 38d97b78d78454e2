"""Sealed sockets leave no trace, neither in the kernel's maps nor in the broker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from nsbroker.wire import MAX_SOCKETS, OpenReply
from nsbrokerd import seal
from nsbrokerd.seal import bpf
from nsbrokerd.seal.layout import GRANT_ID_BYTES, encode_grant_id, encode_name
from nsbrokerd.seal.maps import MAX_GRANTS, open_maps
from support.brokers.limited import can_send, grant, listed, open_limited
from support.brokers.process import BrokerProcess
from support.brokers.raw_client import connect_as, tcp
from support.process_state import idle_descriptors, resident_kib
from support.socket_listing import needs_listing
from support.users import USER
from support.waiting import wait_until

SOCKETS = 10_000
GROWTH_KIB = 2048
"""Of the broker, for all of them: less than a byte for each would show in a long life."""


@pytest.fixture
def name(make_namespace: Callable[..., str]) -> str:
    return make_namespace()


def sizes(broker: BrokerProcess) -> list[object]:
    """The number of named grants, and the memory of each map."""
    maps = open_maps(broker.seal_path)
    try:
        memory = [_memory(fd) for fd in (maps.sockets, maps.limits, maps.names, *maps.programs.values())]
        return [len(bpf.keys(maps.names, GRANT_ID_BYTES)), *memory]
    finally:
        maps.close()


def _memory(map_fd: int) -> str:
    lines = Path(f"/proc/self/fdinfo/{map_fd}").read_text().splitlines()
    return next(line for line in lines if line.startswith("memlock"))


@needs_listing
def test_names_of_former_grants_make_room(start_broker: Callable[..., BrokerProcess], name: str) -> None:
    """Grants that have a live socket stay, because the list shows the socket's grant."""
    broker = start_broker(grant("former", connect=[]))
    with open_limited(broker, name):
        fill_names(broker)
        broker.configure(grant("new", connect=["*:5000"]))
        broker.reload()
        with open_limited(broker, name) as another:
            assert can_send(another, 5000)
            assert not can_send(another, 5001)
            assert {row["grant"] for row in listed(broker)} == {"former", "new"}
    assert sizes(broker)[0] == 2


def fill_names(broker: BrokerProcess) -> None:
    """As after a long life: no name more fits."""
    maps = open_maps(broker.seal_path)
    try:
        for number in range(MAX_GRANTS - 1):
            bpf.update(maps.names, encode_grant_id(number), encode_name(f"grant {number}"))
        with pytest.raises(OSError, match="can't write to a map"):
            bpf.update(maps.names, encode_grant_id(MAX_GRANTS), encode_name("one more"))
    finally:
        maps.close()


@needs_listing
def test_ten_thousand_sealed_sockets_leave_nothing_behind(
    start_broker: Callable[..., BrokerProcess], name: str
) -> None:
    """Each socket is in the map while it is open, and the broker is as large as before."""
    broker = start_broker(grant(connect=["*:443"]))
    batch = tcp(*[name] * MAX_SOCKETS)
    with connect_as(USER, broker) as client:
        assert isinstance(client.ask(batch), OpenReply)
        assert len(seal.live_sockets(broker.seal_path)) == MAX_SOCKETS
        client.close_fds()
        wait_until(lambda: not seal.live_sockets(broker.seal_path))
        before = sizes(broker), idle_descriptors(broker.pid)
        resident = resident_kib(broker.pid)
        for _ in range(SOCKETS // MAX_SOCKETS + 1):
            assert isinstance(client.ask(batch), OpenReply)
            client.close_fds()
        wait_until(lambda: not seal.live_sockets(broker.seal_path))
        assert (sizes(broker), idle_descriptors(broker.pid)) == before
        assert resident_kib(broker.pid) - resident < GROWTH_KIB
