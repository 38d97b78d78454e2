"""The proxy itself: takes connections in, gets a socket of the namespace for each, and lets the bytes pass."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
from contextlib import suppress
from functools import partial

from ..drivers.asyncio import run
from ..wire.record import Record
from .dialing import dial, failure
from .handshake import RefusedError
from .http import Http
from .socks import OLD_VERSION, VERSION, Socks5
from .tunnel import prepare, relay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..place.place import Place
    from .handshake import Handshake, Target
    from .listeners import Door, Listener

_ENDING = (signal.SIGTERM, signal.SIGINT)
_ACCEPT_AT_ONCE = 64
_MAX_HANDSHAKES = 256
"""Clients whose request is not complete. Above this, the oldest one is dropped: a good client needs a moment only."""
_HANDSHAKE_S = 10.0
_DIAL_S = 60.0
_FAREWELL_S = 2.0
"""How long a client may take to read why it was refused. A close with unread bytes would reset the connection."""
_GRACE_S = 5.0
"""How long connections may go on after the first signal."""
_TRY_AGAIN_S = 1.0
_RECEIVE_BYTES = 65536
_TLS = 0x16


class Texts(Record):
    """The lines about connections that could not be made.

    Attributes:
        failed: returns the line for a target and the error of `dial`.
        log: says a line.
    """

    failed: Callable[[Target, OSError | ExceptionGroup[OSError]], str]
    log: Callable[[str], object]


def serve(proxy: Proxy, listeners: Sequence[Listener], on_ready: Callable[[], object]) -> int:
    """Run `proxy.serve` in an event loop of its own, and return the number of the signal that ended it."""
    return asyncio.run(proxy.serve(listeners, on_ready))


class GoneError(Exception):
    """The client ended before its request was complete."""


class Proxy:
    """Serves listeners until a signal comes.

    Args:
        place: the namespace.
        door: says which connections may come in.
        texts: the lines.
    """

    def __init__(self, place: Place, door: Door, texts: Texts) -> None:
        self._place, self._door, self._texts = place, door, texts
        self._tasks: set[asyncio.Task[None]] = set()
        self._handshakes: dict[asyncio.Task[None], None] = {}

    async def serve(self, listeners: Sequence[Listener], on_ready: Callable[[], object]) -> int:
        """Serve until SIGTERM or SIGINT, and return its number. Connections may then go on for a few seconds."""
        loop = asyncio.get_running_loop()
        signals: asyncio.Queue[int] = asyncio.Queue()
        for ending in _ENDING:
            if signal.getsignal(ending) is not signal.SIG_IGN:
                loop.add_signal_handler(ending, signals.put_nowait, ending)
        for listener in listeners:
            self._watch(listener)
        on_ready()
        number = await signals.get()
        for listener in listeners:
            loop.remove_reader(listener.sock)
            listener.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_S):
                await self._until_done(signals)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        return number

    async def _until_done(self, signals: asyncio.Queue[int]) -> None:
        """Wait for the connections, or for a second signal."""
        second = asyncio.ensure_future(signals.get())
        for task in list(self._handshakes):
            task.cancel()
        try:
            while self._tasks and not second.done():
                await asyncio.wait([*self._tasks, second], return_when=asyncio.FIRST_COMPLETED)
        finally:
            second.cancel()

    def _watch(self, listener: Listener) -> None:
        if listener.sock.fileno() >= 0:
            asyncio.get_running_loop().add_reader(listener.sock, self._accept, listener)

    def _accept(self, listener: Listener) -> None:
        for _ in range(_ACCEPT_AT_ONCE):
            try:
                connection, _address = listener.sock.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue  # The client gave up while it waited.
            except OSError as error:
                self._texts.log(f"can't accept a connection: {error.strerror}; trying again (see ulimit -n)")
                loop = asyncio.get_running_loop()
                loop.remove_reader(listener.sock)
                loop.call_later(_TRY_AGAIN_S, self._watch, listener)
                return
            self._admit(connection)

    def _admit(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        try:
            reason = self._door.refuses(connection)
        except BaseException:
            connection.close()
            raise
        if reason is not None:
            connection.close()
            if reason:
                self._texts.log(reason)
            return
        task = asyncio.get_running_loop().create_task(self._serve(connection))
        self._tasks.add(task)
        self._handshakes[task] = None
        task.add_done_callback(partial(self._forget, connection))
        if len(self._handshakes) > _MAX_HANDSHAKES:
            oldest = next(iter(self._handshakes))
            del self._handshakes[oldest]
            oldest.cancel()
            self._texts.log(f"more than {_MAX_HANDSHAKES} clients have sent no whole request: dropping the oldest")

    def _forget(self, connection: socket.socket, task: asyncio.Task[None]) -> None:
        connection.close()  # A task that is cancelled before it has begun could not do so.
        self._tasks.discard(task)
        self._handshakes.pop(task, None)
        # Its errors are handled within. Any other one is a bug, which must be seen.
        if not task.cancelled() and (error := task.exception()) is not None:
            self._texts.log(f"a bug in nsbroker-get, please report it: {type(error).__name__}: {error}")

    async def _serve(self, client: socket.socket) -> None:
        """Serve a client, whose socket `_forget` closes."""
        handshake = await self._shake_hands(client)
        if handshake is None or handshake.target is None:
            return
        server = await self._reach(client, handshake, handshake.target)
        if server is None:
            return
        with server, suppress(OSError):
            prepare(client)
            prepare(server)
            await _send(client, handshake.success(server.getsockname()))
            await relay(client, server, handshake.take_first(), handshake.body)
            if handshake.body is not None:
                await _say_goodbye(client)

    async def _shake_hands(self, client: socket.socket) -> Handshake | None:
        """Return the complete request of a client, or None if there is none."""
        try:
            async with asyncio.timeout(_HANDSHAKE_S):
                try:
                    return await _receive_request(client)
                except RefusedError as refused:
                    self._texts.log(str(refused))
                    await _dismiss(client, refused.answer)
        except TimeoutError:
            self._texts.log(f"a client sent no whole request within {_HANDSHAKE_S:g} s")
        except (GoneError, OSError):
            return None
        finally:
            task = asyncio.current_task()
            if task is not None:
                self._handshakes.pop(task, None)
        return None

    async def _reach(self, client: socket.socket, handshake: Handshake, target: Target) -> socket.socket | None:
        """Return a connection to the target, or tell the client why there is none."""
        try:
            async with asyncio.timeout(_DIAL_S):
                return await run(dial(self._place, target))
        except TimeoutError:
            error: OSError | ExceptionGroup[OSError] = TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        except (OSError, ExceptionGroup) as problem:
            error = problem
        text = self._texts.failed(target, error)
        self._texts.log(text)
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_HANDSHAKE_S):
                await _dismiss(client, handshake.refusal(failure(error, text)))
        return None


async def _receive_request(client: socket.socket) -> Handshake:
    data = await _receive(client)
    handshake = _handshake_for(data[0])
    while True:
        if answer := handshake.receive(data):
            await _send(client, answer)
        if handshake.target is not None:
            return handshake
        data = await _receive(client)


def _handshake_for(first_byte: int) -> Handshake:
    if first_byte in (VERSION, OLD_VERSION):
        return Socks5()
    if chr(first_byte).isascii() and chr(first_byte).isalpha():
        return Http()
    if first_byte == _TLS:
        raise RefusedError(b"", "a client speaks TLS to the proxy itself: name the proxy by http://, not by https://")
    raise RefusedError(b"", "a client speaks neither SOCKS5 nor HTTP")


async def _receive(client: socket.socket) -> bytes:
    data = await asyncio.get_running_loop().sock_recv(client, _RECEIVE_BYTES)
    if not data:
        raise GoneError
    return data


async def _send(client: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(client, data)


async def _dismiss(client: socket.socket, answer: bytes) -> None:
    """Send the last bytes to a client, and wait a moment for it to read them."""
    await _send(client, answer)
    await _say_goodbye(client)


async def _say_goodbye(client: socket.socket) -> None:
    client.shutdown(socket.SHUT_WR)
    with suppress(GoneError, TimeoutError):
        async with asyncio.timeout(_FAREWELL_S):
            while True:
                await _receive(client)
