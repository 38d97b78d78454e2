"""`Client`: asks the broker for sockets, and asks again when the broker was restarted in between.

To ask again is safe: a reply that did not arrive died with its connection, and the kernel closed the descriptors
that were in it. So no request is answered twice, and no socket is left behind.
"""

from __future__ import annotations

import errno
import os
import socket
from time import monotonic, sleep

from . import diagnosis
from .batch import Chunk, split
from .connection import Connection, ConnectionLostError, DeadlineError, connect
from .exchange import Batch, ask_namespaces
from .pool import Pool
from .proof import take_sockets
from .references import open_paths
from .wire.limits import MAX_WAIT_S
from .wire.messages import NamespaceList, OpenedSocket, SocketSpec

DEFAULT_PATH = "/run/nsbroker/nsbroker.sock"
DEFAULT_TIMEOUT_S = 5.0

_MOST_LOSSES = 6
"""Connections lost without an answer before a call gives up: a request that makes the broker fall over must not
do so for ever."""
_LONGEST_PAUSE_S = 0.32
_RESTARTING = frozenset({errno.ENOENT, errno.ECONNREFUSED})

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Self, TypeVar

    S = TypeVar("S", bound=socket.SocketType)
    T = TypeVar("T")


class Client:
    """A way to one broker, for any number of threads and across forks.

    Args:
        path: the broker's socket; else $NSBROKER_SOCKET, else /run/nsbroker/nsbroker.sock.
        timeout: seconds after which a call gives up with `BrokerUnavailableError`.
    """

    def __init__(self, path: str | None = None, timeout: float = DEFAULT_TIMEOUT_S) -> None:
        if not timeout > 0:
            raise ValueError("the timeout must be more than 0 seconds")
        self.path = path or os.environ.get("NSBROKER_SOCKET") or DEFAULT_PATH
        self.timeout = timeout
        self._pool = Pool()
        self._reached = False
        self._down_since: float | None = None

    def open(self, specs: Iterable[SocketSpec], wait: float = 0) -> list[socket.socket]:
        """Open sockets, all or none, one round trip for each 253.

        A namespace that is an int is a descriptor of a namespace that the caller has open; one with a "/" is a path
        that is opened here, with the caller's rights.

        Args:
            specs: what each socket shall be.
            wait: seconds, up to 60, to wait for namespaces that do not exist yet; they come on top of the timeout.

        Raises:
            NamespaceNotFoundError, AccessDeniedError: the broker refuses; `index` says which spec.
            BrokerUnavailableError: it can't be reached, does not answer, or is overloaded.
            OSError: as socket(2), bind(2), listen(2) or setsockopt(2) failed; `index` says for which spec.
        """
        return self.open_as(_take_fd, specs, wait)

    def open_as(self, take_fd: Callable[[SocketSpec, int], S], specs: Iterable[SocketSpec], wait: float = 0) -> list[S]:
        """Open sockets as `open` does, made by `take_fd(spec, fd)`, which then owns the descriptor."""
        if not 0 <= wait <= MAX_WAIT_S:
            raise ValueError(f"wait is 0..{MAX_WAIT_S} seconds")
        resolved, path_fds = open_paths(specs if isinstance(specs, list | tuple) else list(specs))
        sockets: dict[int, list[S]] = {}

        def take_answer(chunk: Chunk, opened: tuple[OpenedSocket, ...], fds: list[int]) -> None:
            sockets[chunk.first] = take_sockets(chunk.specs, opened, fds, take_fd)

        try:
            batch = Batch(split(resolved), take_answer, wait)
            self._settle(batch.converse, self.timeout + wait)
            return [sock for first in sorted(sockets) for sock in sockets[first]]
        except BaseException:
            for answered in sockets.values():
                for sock in answered:
                    sock.close()
            raise
        finally:
            for fd in path_fds:
                os.close(fd)

    def namespaces(self) -> NamespaceList:
        """Ask which namespaces this user may use, and what it may do there.

        Raises:
            BrokerUnavailableError: the broker can't be reached or does not answer.
        """
        return self._settle(ask_namespaces, self.timeout)

    def close(self) -> None:
        """Close the idle connections. The client can still be used: it connects anew."""
        self._pool.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_pool"):
            self._pool.clear()

    def __repr__(self) -> str:
        return f"<nsbroker.Client {self.path!r}>"

    def _settle(self, converse: Callable[[Connection, float], T], limit_s: float) -> T:
        """Have a conversation, on another connection as long as one is lost, until it ends or `limit_s` passed."""
        deadline = monotonic() + limit_s
        losses = 0
        try:
            while True:
                try:
                    return self._converse_once(converse, deadline)
                except ConnectionLostError as error:
                    losses += 1
                    if losses > _MOST_LOSSES:
                        raise diagnosis.hung_up(self.path) from error
                # The broker is another one now; what is idle went with the old one. The first time, no pause.
                self._pool.clear()
                _pause(losses - 1, deadline)
        except DeadlineError as error:
            raise diagnosis.too_late(self.path, limit_s) from error

    def _converse_once(self, converse: Callable[[Connection, float], T], deadline: float) -> T:
        connection = self._pool.take() or self._connect(deadline)
        try:
            return converse(connection, deadline)
        finally:
            self._reached = self._reached or not connection.unanswered
            self._pool.give_back(connection)

    def _connect(self, deadline: float) -> Connection:
        attempts = 0
        while True:
            try:
                connection = connect(self.path, deadline)
            except OSError as error:
                if error.errno not in _RESTARTING or not self._may_be_restarting():
                    raise diagnosis.unreachable(self.path, error) from error
            else:
                self._down_since = None
                return connection
            attempts += 1
            _pause(attempts, deadline)

    def _may_be_restarting(self) -> bool:
        """Tell whether it is worth while to wait: the broker was there, and is not gone for long."""
        if not self._reached:
            return False
        if self._down_since is None:
            self._down_since = monotonic()
        return monotonic() - self._down_since < self.timeout


def _pause(attempts: int, deadline: float) -> None:
    if attempts > 0:
        pause_s = min(0.005 * 2**attempts, _LONGEST_PAUSE_S)
        sleep(max(0, min(pause_s, deadline - monotonic())))
    if monotonic() >= deadline:
        raise DeadlineError


def _take_fd(spec: SocketSpec, fd: int) -> socket.socket:
    # With the type's SOCK_NONBLOCK given, the socket module sets its timeout to match; else the program's default.
    return socket.socket(spec.family, spec.type, spec.proto, fd)


_shared: dict[tuple[str, float], Client] = {}


def shared_client(path: str | None, timeout: float) -> Client:
    """Give the client that everything in this process shares which asks for the same broker."""
    resolved = path or os.environ.get("NSBROKER_SOCKET") or DEFAULT_PATH
    # setdefault is atomic: two threads that come first get the same one.
    return _shared.get((resolved, timeout)) or _shared.setdefault((resolved, timeout), Client(resolved, timeout))
