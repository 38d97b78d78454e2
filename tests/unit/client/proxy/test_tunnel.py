"""The bytes between two sockets: how many of them are taken at once, and how many are kept."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
import tracemalloc
from collections.abc import Callable

import pytest

from nsbroker.proxy.http import Http
from nsbroker.proxy.socks import Socks5
from nsbroker.proxy.tunnel import relay


class Body:
    """A request of endless length that notes the pieces in which it comes."""

    is_complete = False

    def __init__(self) -> None:
        self.pieces: list[int] = []

    def forward(self, data: bytes) -> bytes:
        self.pieces.append(len(data))
        return data


def test_request_that_is_parsed_comes_in_small_pieces() -> None:
    """Each of its bytes can be a chunk, and all other connections wait meanwhile."""
    body = Body()
    client, end_of_client = socket.socketpair()
    server, end_of_server = socket.socketpair()
    with client, end_of_client, server, end_of_server:
        for sock in (client, server, end_of_client):
            sock.setblocking(False)
        sent = end_of_client.send(bytes(2**17))
        assert sent > 2**15

        async def serve() -> None:
            received = 0
            relaying = asyncio.ensure_future(relay(client, server, b"", body))
            while received < sent:
                received += len(await asyncio.get_running_loop().sock_recv(end_of_server, 2**18))
            end_of_server.close()
            await relaying

        end_of_server.setblocking(False)
        asyncio.run(serve())
    assert sum(body.pieces) == sent
    assert max(body.pieces) <= 2**14


@pytest.mark.parametrize("is_early", [False, True])
def test_idle_connection_has_no_buffer(*, is_early: bool) -> None:
    """Also if its peers were slow, and if the first bytes came with the request."""
    client, end_of_client = socket.socketpair()
    server, end_of_server = socket.socketpair()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    kept: list[int] = []
    with client, end_of_client, server, end_of_server:
        for sock in (client, server, end_of_client, end_of_server):
            sock.setblocking(False)
        count = 2**16 if is_early else end_of_client.send(bytes(2**17))
        assert count > 2**15

        async def serve() -> None:
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
            relaying = asyncio.ensure_future(relay(client, server, bytes(count if is_early else 0), None))
            left = count
            while left:
                left -= len(await asyncio.get_running_loop().sock_recv(end_of_server, 1024))
            kept.append(tracemalloc.get_traced_memory()[0] - before)
            end_of_client.shutdown(socket.SHUT_WR)
            end_of_server.shutdown(socket.SHUT_WR)
            await relaying

        try:
            asyncio.run(serve())
        finally:
            tracemalloc.stop()
    assert kept[0] < 2**15


@pytest.mark.parametrize(
    ("make", "request_"),
    [
        (Http, b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"),
        (Socks5, b"\x05\x01\x00\x05\x01\x00\x01" + bytes(6)),
    ],
)
def test_request_does_not_keep_the_bytes_behind_it(make: Callable[[], Http | Socks5], request_: bytes) -> None:
    """It lives as long as the connection."""
    handshake = make()
    handshake.receive(request_ + bytes(2**15))
    assert handshake.take_first() == bytes(2**15)
    assert bytes_in(handshake) < 2**12


def bytes_in(holder: object) -> int:
    """Return the size of all bytes that an object holds, by itself or by others."""
    seen, found, size = {id(holder)}, [holder], 0
    while found:
        one = found.pop()
        size += sys.getsizeof(one) if isinstance(one, bytes | bytearray) else 0
        for other in gc.get_referents(one):
            if id(other) not in seen and not isinstance(other, type) and not hasattr(other, "__globals__"):
                seen.add(id(other))
                found.append(other)
    return size
