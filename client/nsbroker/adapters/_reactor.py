"""Sockets in Twisted's reactor: waits for a connecting one, adopts a connected one, and blocks in threads only."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IWriteDescriptor
from twisted.internet.threads import deferToThreadPool
from zope.interface import implementer


def in_thread(reactor: Any, function: Callable[..., Any], *args: object) -> Deferred[Any]:
    """Call a blocking function in a thread of the reactor's pool, and fire with its result."""
    return deferToThreadPool(reactor, reactor.getThreadPool(), function, *args)


@implementer(IWriteDescriptor)
class Connecting:
    """A connecting socket. The reactor calls `doWrite` when it is connected or failed."""

    def __init__(self, reactor: Any, sock: socket.socket) -> None:
        self._reactor = reactor
        self._sock = sock
        self._done: Deferred[int] = Deferred(lambda _: self._reactor.removeWriter(self))

    def wait(self, timeout_s: float) -> Deferred[int]:
        """Fire with the errno (0 for success), or after `timeout_s` with `twisted.internet.error.TimeoutError`."""
        limit = self._reactor.callLater(timeout_s, self._end, error.TimeoutError())
        self._reactor.addWriter(self)
        return self._done.addBoth(lambda result: (limit.active() and limit.cancel()) or result)

    def fileno(self) -> int:
        return self._sock.fileno()

    def logPrefix(self) -> str:  # noqa: N802  # Twisted's own name
        return "nsbroker"

    def doWrite(self) -> None:  # noqa: N802  # Twisted's own name
        self._end(self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def connectionLost(self, reason: object) -> None:  # noqa: N802  # Twisted's own name
        self._end(errno.ECONNABORTED)

    def _end(self, result: int | Exception) -> None:
        self._reactor.removeWriter(self)
        if not self._done.called:
            self._done.errback(result) if isinstance(result, Exception) else self._done.callback(result)


class _Remembers:
    """A factory that remembers the protocol that another factory built."""

    def __init__(self, factory: Any) -> None:
        self._factory = factory
        self.protocol: Any = None

    def buildProtocol(self, addr: Any) -> Any:  # noqa: N802  # Twisted's own name
        self.protocol = self._factory.buildProtocol(addr)
        return self.protocol


def adopt(reactor: Any, sock: socket.socket, factory: Any) -> Any:
    """Let the reactor serve a copy of a connected socket, and return the protocol that the factory builds for it.

    Raises:
        twisted.internet.error.NoProtocol: the factory refuses the connection.
    """
    remembers = _Remembers(factory)
    factory.doStart()
    transport = reactor.adoptStreamConnection(sock.fileno(), sock.family, remembers)
    if transport is None:
        raise error.NoProtocol
    # Twisted takes an adopted connection for an accepted one. startTLS must act as a client.
    transport._tlsClientDefault = True
    return remembers.protocol
