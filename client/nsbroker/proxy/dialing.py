"""Connections from the namespace to the targets of clients, and the outcome for a client if one can't be made."""

from __future__ import annotations

import errno
import socket
from contextlib import contextmanager
from time import monotonic

from ..link.errors import AccessDeniedError, Error
from ..link.waiting import wait
from ..place.connecting import connect_tcp
from ..place.place import Place
from .handshake import Failure
from .socks import CONNECTION_REFUSED, GENERAL_FAILURE, HOST_UNREACHABLE, NETWORK_UNREACHABLE, NOT_ALLOWED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TypeVar

    from ..link.waiting import Waiting
    from ..wire.messages import ResolverFiles, SocketSpec
    from .handshake import Target

    S = TypeVar("S", bound=socket.SocketType)

_MOST_QUESTIONS = 16
"""Questions to the broker at once. Each takes one of the connections that a user may have for all of its programs."""
_TURN_S = 0.001
"""Seconds in which the broker answers about `_MOST_QUESTIONS` questions."""

_OUTCOMES = {
    errno.ECONNREFUSED: (CONNECTION_REFUSED, 502),
    errno.ENETUNREACH: (NETWORK_UNREACHABLE, 502),
    errno.EHOSTUNREACH: (HOST_UNREACHABLE, 502),
    errno.ETIMEDOUT: (HOST_UNREACHABLE, 504),
    errno.EACCES: (NOT_ALLOWED, 403),
    errno.EPERM: (NOT_ALLOWED, 403),
}
"""The reply code of SOCKS and the status of HTTP for an errno."""


class CalmPlace(Place):
    """A namespace of which any number of tasks want sockets, while few of them ask the broker at once."""

    _asking = 0
    _queued = 0

    async def open(
        self, take_fd: Callable[[SocketSpec, int], S], specs: Sequence[SocketSpec], *, wait_for_addresses: bool = True
    ) -> list[S]:
        """See `Place.open`."""
        await self._turn()
        with self._question():
            return await super().open(take_fd, specs, wait_for_addresses=wait_for_addresses)

    async def resolver_files(self) -> ResolverFiles:
        """See `Place.resolver_files`."""
        await self._turn()
        with self._question():
            return await super().resolver_files()

    async def _turn(self) -> None:
        while self._asking >= _MOST_QUESTIONS:
            self._queued += 1
            try:
                await wait(monotonic() + _TURN_S * (1 + self._queued // _MOST_QUESTIONS), ())
            finally:
                self._queued -= 1

    @contextmanager
    def _question(self) -> Iterator[None]:
        self._asking += 1
        try:
            yield
        finally:
            self._asking -= 1


def dial(place: Place, target: Target) -> Waiting[socket.socket]:
    """Connect to a target. The caller owns the socket, which does not block. Run it by `drivers.asyncio.run`.

    Raises:
        OSError: a name has no address, or the broker refuses.
        ExceptionGroup: of OSErrors: no address could be reached.
    """
    return connect_tcp(place, target.host, target.port)


def failure(error: OSError | ExceptionGroup[OSError], text: str) -> Failure:
    """Return the outcome for the client, for an error of `dial`."""
    errors = list(error.exceptions) if isinstance(error, ExceptionGroup) else [error]
    first = errors[0]
    if isinstance(first, socket.gaierror):
        return Failure(HOST_UNREACHABLE, 502, text)
    if isinstance(first, AccessDeniedError):
        return Failure(NOT_ALLOWED, 403, text)
    if isinstance(first, Error):
        return Failure(GENERAL_FAILURE, 503, text)
    if isinstance(first, TimeoutError):
        return Failure(HOST_UNREACHABLE, 504, text)
    number = getattr(first, "errno", None) or 0
    return Failure(*_OUTCOMES.get(number, (GENERAL_FAILURE, 502)), text)
