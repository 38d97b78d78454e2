"""The way to one broker: has a conversation, and has it again when the broker was restarted in between.

To ask again is safe: a reply that did not arrive died with its connection, and the kernel closed the descriptors
that were in it. So no request is answered twice, and no socket is left behind.
"""

from __future__ import annotations

import errno
import os
from time import monotonic

from . import diagnosis
from .connection import ConnectionLostError, connect
from .pool import Pool
from .waiting import DeadlineError

DEFAULT_PATH = "/run/nsbroker/nsbroker.sock"
DEFAULT_TIMEOUT_S = 5.0

_MOST_LOSSES = 6
"""Connections lost without an answer before a call gives up: a request that makes the broker fall over must not
do so for ever."""
_LONGEST_PAUSE_S = 0.32
_RESTARTING = frozenset({errno.ENOENT, errno.ECONNREFUSED})

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from .connection import Connection
    from .waiting import Steps

    T = TypeVar("T")


class Reach:
    """A way to one broker, for any number of threads and event loops, and across forks.

    Each call takes a connection out of the pool and gives it back, so none is ever in two calls, threads or loops.

    Args:
        path: the broker's socket; else $NSBROKER_SOCKET, else /run/nsbroker/nsbroker.sock.
        timeout_s: after which a call gives up with `BrokerUnavailableError`.
    """

    def __init__(self, path: str | None, timeout_s: float) -> None:
        if not timeout_s > 0:
            raise ValueError("the timeout must be more than 0 seconds")
        self.path = path or os.environ.get("NSBROKER_SOCKET") or DEFAULT_PATH
        self.timeout_s = timeout_s
        self._pool = Pool()
        self._reached = False
        self._down_since: float | None = None

    def close(self) -> None:
        """Close the idle connections."""
        self._pool.clear()

    def __del__(self) -> None:
        if hasattr(self, "_pool"):
            self._pool.clear()

    def settle(self, converse: Callable[[Connection, float], Steps[T]], extra_s: float = 0) -> Steps[T]:
        """Have a conversation, on another connection as long as one is lost, until it ends or the time is up.

        Args:
            converse: the steps of the conversation on a connection, until a deadline.
            extra_s: what the broker may take on top of the timeout.
        """
        limit_s = self.timeout_s + extra_s
        deadline = monotonic() + limit_s
        losses = 0
        try:
            while True:
                connection = self._pool.take() or (yield from self._connect(deadline))
                try:
                    return (yield from converse(connection, deadline))
                except ConnectionLostError as error:
                    losses += 1
                    if losses > _MOST_LOSSES:
                        raise diagnosis.hung_up(self.path) from error
                finally:
                    self._reached = self._reached or not connection.unanswered
                    self._pool.give_back(connection)
                # The broker is another one now; what is idle went with the old one. The first time, no pause.
                self._pool.clear()
                yield from _pause(losses - 1, deadline)
        except DeadlineError as error:
            raise diagnosis.too_late(self.path, limit_s) from error

    def _connect(self, deadline: float) -> Steps[Connection]:
        attempts = 0
        while True:
            try:
                connection = yield from connect(self.path, deadline)
            except OSError as error:
                if error.errno not in _RESTARTING or not self._may_be_restarting():
                    raise diagnosis.unreachable(self.path, error) from error
            else:
                self._down_since = None
                return connection
            attempts += 1
            yield from _pause(attempts, deadline)

    def _may_be_restarting(self) -> bool:
        """Tell whether it is worth while to wait: the broker was there, and is not gone for long."""
        if not self._reached:
            return False
        if self._down_since is None:
            self._down_since = monotonic()
        return monotonic() - self._down_since < self.timeout_s


def _pause(attempts: int, deadline: float) -> Steps[None]:
    if attempts > 0:
        pause_s = min(0.005 * 2**attempts, _LONGEST_PAUSE_S)
        yield min(monotonic() + pause_s, deadline), ()
    if monotonic() >= deadline:
        raise DeadlineError
