"""A server with several listening sockets. asyncio's own server takes several only if asyncio makes them."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence


class ServerGroup(asyncio.AbstractServer):
    """Several servers with one socket each as one server. Its methods are those of `asyncio.Server`."""

    def __init__(self, servers: Sequence[asyncio.Server]) -> None:
        self._servers = tuple(servers)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} sockets={self.sockets!r}>"

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The listening sockets."""
        return tuple(itertools.chain.from_iterable(server.sockets for server in self._servers))

    def close(self) -> None:
        """Stop listening."""
        for server in self._servers:
            server.close()

    def close_clients(self) -> None:
        """Close the connections. Only since Python 3.13."""
        for server in self._servers:
            server.close_clients()  # type: ignore[attr-defined,unused-ignore]  # as the docstring says

    def abort_clients(self) -> None:
        """Abort the connections. Only since Python 3.13."""
        for server in self._servers:
            server.abort_clients()  # type: ignore[attr-defined,unused-ignore]  # as the docstring says

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop of the servers."""
        return self._servers[0].get_loop()

    def is_serving(self) -> bool:
        """Whether it accepts connections."""
        return any(server.is_serving() for server in self._servers)

    async def start_serving(self) -> None:
        """Begin to accept connections."""
        for server in self._servers:
            await server.start_serving()

    async def serve_forever(self) -> None:
        """Accept connections until this call is cancelled, then close."""
        await asyncio.gather(*(server.serve_forever() for server in self._servers))

    async def wait_closed(self) -> None:
        """Wait until it is closed. As asyncio's own server, since Python 3.12 it also waits for the connections."""
        for server in self._servers:
            await server.wait_closed()
