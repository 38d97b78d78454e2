"""Bytes between two sockets, in both directions at once, in an event loop.

A chunk is received into a buffer that all connections share, and sent at once. Only the rest that does not fit into the
other socket is kept, and nothing more is read until it is gone. So an idle connection has no buffer at all.
"""

from __future__ import annotations

import socket
import struct
from asyncio import Future, get_running_loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable

    from .handshake import Body

_BUFFER_BYTES = 2**18
"""As fast as splice(2) through a pipe, without the descriptors. Smaller and larger buffers are slower."""
_BUFFER = memoryview(bytearray(_BUFFER_BYTES))
_PARSED_BYTES = 2**14
"""Of a request that is parsed. Each byte can be a chunk, and all other connections wait meanwhile: 20 ms for these, and
0.3 s for the whole buffer."""
_RESET_ON_CLOSE, _END_ON_CLOSE = struct.pack("ii", 1, 0), struct.pack("ii", 0, 0)
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))
"""A peer that is gone is noticed after two minutes. A silent one that lives may stay."""


def prepare(sock: socket.socket) -> None:
    """Set a TCP socket up for a tunnel: small pieces go out at once, and a peer that is gone is noticed.

    Until `relay` has ended well, its close is a reset: the peer must see that its data was cut off, and not ended. This
    also holds if this process is killed.
    """
    if sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    for name, value in _KEEPALIVE:
        sock.setsockopt(socket.IPPROTO_TCP, name, value)


def _end_on_close(sock: socket.socket) -> None:
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _END_ON_CLOSE)


async def relay(client: socket.socket, server: socket.socket, first: bytes, body: Body | None) -> None:
    """Pass on bytes until both directions have ended, or with a body until the server has ended.

    If one side fails, the other side gets a reset. The caller closes both sockets, which `prepare` has set up.

    Args:
        client: non-blocking.
        server: non-blocking.
        first: bytes that the client has sent already.
        body: translates the bytes of the client (`None`: they are passed on as they are).

    Raises:
        OSError: one of the sides failed.
    """
    loop = get_running_loop()
    done: Future[None] = loop.create_future()
    left = {"to server", "to client"}

    def end(direction: str, error: OSError | None) -> None:
        left.discard(direction)
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        elif not left or (body is not None and direction == "to client"):
            done.set_result(None)

    try:
        _Flow(loop, server, client, lambda error: end("to client", error)).start()
        _Flow(loop, client, server, lambda error: end("to server", error), body).start(first)
        del first  # it may be long, and the connection may be idle for long
        await done
        _end_on_close(client)
        _end_on_close(server)
    finally:
        for sock in (client, server):
            loop.remove_reader(sock)
            loop.remove_writer(sock)


class _Flow:
    """One direction. At its end, the sink is half-closed.

    A server may take that for the end of its client. So the end of a client behind its whole request has no effect.

    Args:
        loop: the event loop.
        source: the socket to read from.
        sink: the socket to write to.
        on_end: called once, with the error if one of the two failed.
        body: as for `relay`.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        source: socket.socket,
        sink: socket.socket,
        on_end: Callable[[OSError | None], object],
        body: Body | None = None,
    ) -> None:
        self._loop, self._source, self._sink = loop, source, sink
        self._on_end, self._body = on_end, body
        self._buffer = _BUFFER if body is None else _BUFFER[:_PARSED_BYTES]
        self._unsent = memoryview(b"")

    def start(self, first: bytes = b"") -> None:
        """Send the first bytes, and then all bytes that come."""
        if first:
            self._unsent = memoryview(first)
            self._loop.add_writer(self._sink, self._write)
        else:
            self._go_on()

    def _go_on(self) -> None:
        # Also behind the end of a request, to notice a client that is gone.
        self._loop.add_reader(self._source, self._read)

    def _read(self) -> None:
        try:
            count = self._source.recv_into(self._buffer)
            if count:
                self._pass_on(self._buffer[:count])
            else:
                self._end()
        except BlockingIOError:
            return
        except OSError as error:
            self._loop.remove_reader(self._source)
            self._on_end(error)

    def _end(self) -> None:
        self._loop.remove_reader(self._source)
        if self._body is None:
            self._sink.shutdown(socket.SHUT_WR)
            self._on_end(None)
        elif not self._body.is_complete:
            raise ConnectionError("the client ended within its request")

    def _pass_on(self, data: memoryview) -> None:
        if self._body is not None:
            data = memoryview(b"" if self._body.is_complete else self._body.forward(bytes(data)))
        sent = 0
        if data:
            try:
                sent = self._sink.send(data)
            except BlockingIOError:
                sent = 0
        if sent < len(data):
            self._unsent = memoryview(bytes(data[sent:]))
            self._loop.remove_reader(self._source)
            self._loop.add_writer(self._sink, self._write)

    def _write(self) -> None:
        try:
            self._unsent = self._unsent[self._sink.send(self._unsent) :]
        except BlockingIOError:
            return
        except OSError as error:
            self._loop.remove_writer(self._sink)
            self._on_end(error)
            return
        if not self._unsent:
            self._unsent = memoryview(b"")  # an empty slice keeps the whole chunk
            self._loop.remove_writer(self._sink)
            self._go_on()
