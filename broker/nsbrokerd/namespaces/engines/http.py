"""Makes one HTTP request over a Unix socket, and reads a bounded answer. It follows no redirect."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import h11
import trio

from .unix_socket import UnreachableError, connect

MAX_HEAD_BYTES = 2**14
_PART_BYTES = 2**14
"""Few enough that parsing them does not hold up other requests, even if each byte is a chunk of HTTP."""

_SHOWN = 100
"""Characters of an error's text, which can contain bytes of the server."""


class Answer(NamedTuple):
    """A whole answer."""

    status: int
    server: str
    """The header Server, or ""."""

    body: bytes


async def get(path: Path, target: str, max_bytes: int) -> Answer:
    """Ask once, and return the answer.

    Args:
        path: the socket.
        target: the path of the URL, with its query.
        max_bytes: the length of the whole answer, as it comes.

    Raises:
        UnreachableError: there is no whole answer of HTTP, or it is longer.
    """
    async with await connect(path) as stream:
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        request = h11.Request(method="GET", target=target, headers=[("Host", "localhost"), ("Connection", "close")])
        try:
            await stream.send_all(connection.send(request) + connection.send(h11.EndOfMessage()))
            return await _read_answer(stream, connection, max_bytes)
        except (trio.BrokenResourceError, h11.RemoteProtocolError, ValueError) as error:
            # Before h11 0.15, a very long Content-Length was a ValueError of int().
            raise UnreachableError(f"its answer is broken: {str(error.__cause__ or error)[:_SHOWN]}") from error


async def _read_answer(stream: trio.SocketStream, connection: h11.Connection, max_bytes: int) -> Answer:
    status, server = 0, b""
    body = []
    left = max_bytes
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            part = await stream.receive_some(_PART_BYTES)
            left -= len(part)
            if left < 0:
                raise UnreachableError(
                    f"its answer is longer than {max_bytes} bytes: the container's labels may be too long"
                )
            connection.receive_data(part)
        elif isinstance(event, h11.Response):
            status = event.status_code
            server = dict(event.headers).get(b"server", b"")
        elif isinstance(event, h11.Data):
            body.append(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return Answer(status, server.decode("ascii", "replace"), b"".join(body))
