"""The limit in time of one conversation with a name server."""

from __future__ import annotations

import socket

import pytest

from nsbroker.drivers.thread import run
from nsbroker.names import inside
from nsbroker.names.files.configuration import Configuration
from nsbroker.names.inside import Inside


async def no_files() -> Configuration:
    raise NotImplementedError


def test_server_that_sends_all_the_time_does_not_prolong_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The socket is ready at all times."""
    near, far = socket.socketpair()
    with near, far:

        async def open_socket(family: int, type: int) -> socket.socket:  # noqa: A002  # the socket module's own name
            return near

        async def connect(*_: object) -> None:
            pass

        monkeypatch.setattr(inside, "connect", connect)
        look_up = Inside(open_socket, no_files)
        far.send(b"flood")
        sock = run(look_up.send(socket.AF_UNIX, socket.SOCK_STREAM, ("", 0), (), 60))
        assert run(look_up.receive(sock)) == b"flood"
        far.send(b"flood")
        look_up._deadline = 0
        with pytest.raises(TimeoutError):
            run(look_up.receive(sock))
