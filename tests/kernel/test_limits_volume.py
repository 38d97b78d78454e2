"""Sealed sockets leave nothing behind: not in the kernel's maps, and not in the broker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from broker_process import BrokerProcess
from limited import USER, grant
from nsbroker.wire import MAX_SOCKETS, OpenReply
from nsbrokerd import seal
from nsbrokerd.seal import bpf
from nsbrokerd.seal.layout import GRANT_ID_BYTES
from nsbrokerd.seal.maps import open_maps
from process_state import idle_descriptors, resident_kib
from raw_client import connect_as, tcp
from shared import wait_until

SOCKETS = 10_000
GROWTH_KIB = 2048
"""Of the broker, for all of them: less than a byte for each would show in a long life."""


def sizes(broker: BrokerProcess) -> list[object]:
    """What the kernel says of each map: how many grants have a name, and how much memory it takes up."""
    maps = open_maps(broker.seal_path)
    try:
        memory = [_memory(fd) for fd in (maps.sockets, maps.limits, maps.names, *maps.programs.values())]
        return [len(bpf.keys(maps.names, GRANT_ID_BYTES)), *memory]
    finally:
        maps.close()


def _memory(map_fd: int) -> str:
    lines = Path(f"/proc/self/fdinfo/{map_fd}").read_text().splitlines()
    return next(line for line in lines if line.startswith("memlock"))


def test_ten_thousand_sealed_sockets_leave_nothing_behind(
    start_broker: Callable[..., BrokerProcess], make_namespace: Callable[..., str]
) -> None:
    """Each is in the map while it is open, and no more when it is closed; the broker is as large as before."""
    broker = start_broker(grant(connect=["*:443"]))
    name = make_namespace()
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
