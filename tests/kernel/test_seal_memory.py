"""What was limited and is closed leaves nothing in the kernel."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

import namespaces
from nsbroker import SocketSpec
from nsbroker.wire import OpenReply, OpenRequest
from nsbrokerd.seal import bpf, live_sockets
from raw_client import connect_as
from sealed import LIMITED, Place, open_as, sealed_place
from shared import wait_until

TCP = (int(socket.AF_INET), int(socket.SOCK_STREAM))


def memory_of(path: Path) -> int:
    """What a map takes, as the kernel says."""
    fd = bpf.open_pin(str(path))
    try:
        [line] = [
            line for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines() if line.startswith("memlock")
        ]
        return int(line.split()[1])
    finally:
        os.close(fd)


@pytest.mark.skipif(namespaces.why_not() is not None, reason=str(namespaces.why_not()))
def test_ten_thousand_sockets_leave_nothing() -> None:
    """No entry, and no map that has grown."""
    with sealed_place() as place:
        open_and_close(place)


def open_and_close(place: Place) -> None:
    def measure() -> dict[str, int]:
        return {path.name: memory_of(path) for path in place.broker.seal_path.iterdir()}

    open_as(place, LIMITED, TCP).close()
    before = measure()
    request = OpenRequest(1, (SocketSpec(place.wire.near, *TCP),) * 250)
    with connect_as(LIMITED, place.broker) as client:
        for _ in range(40):
            assert isinstance(client.ask(request), OpenReply)
            client.close_fds()
    # The kernel frees a socket a moment after it was closed.
    wait_until(lambda: live_sockets(place.broker.seal_path) == [])
    assert measure() == before
