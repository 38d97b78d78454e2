"""The bytes between two sockets: how much of them is taken at once."""

from __future__ import annotations

import asyncio
import socket

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
