"""`Broker`: asks one broker for sockets and answers, and asks again if it was restarted in between.

It is safe to ask again. A reply that did not arrive was lost with its connection, and the kernel closed its
descriptors. So no request is answered twice, and no socket is left behind.
"""

from __future__ import annotations

import errno
import os
import socket
from functools import partial
from time import monotonic

from ..wire.bounds import MAX_SOCKETS, MAX_WAIT_S
from ..wire.messages import (
    Address,
    ExplainRequest,
    Explanation,
    NamespaceList,
    NamespaceRef,
    NamespacesRequest,
    OpenReply,
    ResolverFiles,
    ResolverRequest,
    SocketSpec,
)
from . import diagnosis
from .batch import split
from .connection import Connection, ConnectionLostError, Pool, connect_to_broker
from .errors import BrokerProtocolError, Error
from .questions import BlobQuestion, SocketsQuestion, converse
from .references import is_container, open_path, open_paths
from .waiting import DeadlineError, wait

DEFAULT_PATH = "/run/nsbroker/nsbroker.sock"
DEFAULT_TIMEOUT_S = 5.0

_MOST_LOSSES = 6
"""Connections lost without an answer before a call gives up, so that a request that crashes the broker ends."""
_LONGEST_PAUSE_S = 0.32
_CLOEXEC, _NONBLOCK = int(socket.SOCK_CLOEXEC), int(socket.SOCK_NONBLOCK)
_UNKNOWN_OPERATION = "bad-request: unknown op "
_UNKNOWN_KEY = "bad-request: unknown key "
_UNKNOWN_GROUPS = "bad-request: unknown key 'each'"
"""A broker's answer to an operation that is newer than the broker."""
_RESTARTING = frozenset({errno.ENOENT, errno.ECONNREFUSED})

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from .containers import Containers
    from .questions import Question
    from .stock import Stock
    from .waiting import Waiting

    S = TypeVar("S", bound=socket.SocketType)


def plain_socket(spec: SocketSpec, fd: int) -> socket.socket:
    """Make a socket of the socket module's own class, which then owns the descriptor."""
    # If the type has SOCK_NONBLOCK, the socket module sets a timeout of 0, otherwise the program's default.
    return socket.socket(spec.family, spec.type, spec.proto, fd)


def check_stock(size: int) -> int:
    """Return the size of a stock.

    Raises:
        ValueError: it is not in 0..253.
    """
    if not 0 <= size <= MAX_SOCKETS:
        raise ValueError(f"a stock is 0 (none) to {MAX_SOCKETS} sockets, not {size}")
    return size


def _hold(spec: SocketSpec, fd: int) -> socket.SocketType:
    """Make an object that owns a descriptor, and does not change whether it blocks."""
    return socket.SocketType(spec.family, spec.type | _NONBLOCK, spec.proto, fd)


class Broker:
    """The way to one broker, for any number of threads and event loops, and across forks.

    Args:
        path: the broker's socket. Default: $NSBROKER_SOCKET, then /run/nsbroker/nsbroker.sock.
        timeout_s: seconds after which a call gives up with `BrokerUnavailableError`.

    Raises:
        ValueError: the timeout is not more than 0.
    """

    def __init__(self, path: str | None, timeout_s: float) -> None:
        if not timeout_s > 0:
            raise ValueError("the timeout must be more than 0 seconds")
        self.path = path or os.environ.get("NSBROKER_SOCKET") or DEFAULT_PATH
        self.timeout_s = timeout_s
        self._pool = Pool()
        self._reached = False
        self._down_since: float | None = None
        self._named_containers: Containers | None = None
        self._knows_groups = True
        self._stocks: list[Stock] = []

    @property
    def stock(self) -> Stock:
        """The sockets in stock. The first use loads the code for it."""
        if not self._stocks:
            from .stock import Stock

            self._stocks.append(Stock())
        return self._stocks[0]  # Of two threads that come first, both get the same one.

    @stock.setter
    def stock(self, stock: Stock) -> None:
        self._stocks[:] = [stock]

    @property
    def is_away(self) -> bool:
        """Whether a call waits for the broker to come back: it answered before, and nothing listens now."""
        return self._down_since is not None

    def close(self) -> None:
        """Close the idle connections, and the sockets in stock."""
        self._pool.clear()
        for stock in self._stocks:
            stock.close()

    def __del__(self) -> None:
        if hasattr(self, "_pool"):
            self._pool.clear()  # Sockets in stock are closed in time by themselves.

    def open(
        self, take_fd: Callable[[SocketSpec, int], S], specs: Sequence[SocketSpec], wait_s: float
    ) -> Waiting[list[S]]:
        """Open sockets, all or none. `take_fd(spec, fd)` makes each of its descriptor. See `Client.open`."""
        if not 0 <= wait_s <= MAX_WAIT_S:
            raise ValueError(f"wait is 0..{MAX_WAIT_S} seconds")
        for spec in specs:
            # First the cheap look, since this is for each socket.
            if type(spec.namespace) is str and ":" in spec.namespace and is_container(spec.namespace):
                names = dict.fromkeys(spec.namespace for spec in specs if is_container(spec.namespace))
                return self._containers().open([*map(str, names)], specs, partial(self._open, take_fd), wait_s)
        return self._open(take_fd, specs, wait_s)

    def _open(
        self, take_fd: Callable[[SocketSpec, int], S], specs: Sequence[SocketSpec], wait_s: float
    ) -> Waiting[list[S]]:
        if len(specs) > 1 and self._knows_groups:
            return self._open_grouped(take_fd, specs, wait_s)
        return self._open_all(take_fd, specs, wait_s)

    async def _open_grouped(
        self, take_fd: Callable[[SocketSpec, int], S], specs: Sequence[SocketSpec], wait_s: float
    ) -> list[S]:
        wait_until = monotonic() + wait_s
        try:
            return await self._open_all(take_fd, specs, wait_s, is_grouped=True)
        except BrokerProtocolError as error:
            if error.strerror is None or not error.strerror.startswith(_UNKNOWN_GROUPS):
                raise
        # The broker is of the previous release. Maybe it took the place of a newer one, in which some requests waited.
        self._knows_groups = False
        return await self._open_all(take_fd, specs, max(0, wait_until - monotonic()))

    async def _open_all(
        self,
        take_fd: Callable[[SocketSpec, int], S],
        specs: Sequence[SocketSpec],
        wait_s: float,
        *,
        is_grouped: bool = False,
    ) -> list[S]:
        wait_until = monotonic() + wait_s if wait_s else 0.0
        path_fds: list[int] = []
        questions: list[SocketsQuestion] = []
        try:
            if len(specs) == 1 and _is_plain(specs[0]):
                questions.append(SocketsQuestion(0, (specs[0],), (), take_fd, wait_until))
            else:
                specs, path_fds = open_paths(specs)
                for first, part, fds in split(specs):
                    grouped = is_grouped and not any(spec.also for spec in part)
                    questions.append(SocketsQuestion(first, part, fds, take_fd, wait_until, is_grouped=grouped))
            await self._ask(questions, wait_s)
        except BaseException as error:
            for question in questions:
                for sock in question.answer or ():
                    sock.close()
            if isinstance(error, Error) and error.index is not None and error.index < len(specs):
                error.spec = specs[error.index]
            raise
        finally:
            for fd in path_fds:
                os.close(fd)
        sockets: list[S] = questions[0].answer if questions else []
        for question in questions[1:]:
            sockets += question.answer
        return sockets

    async def open_lot(self, spec: SocketSpec, count: int) -> tuple[list[socket.SocketType], OpenReply]:
        """Open several sockets of one spec for a stock.

        Returns:
            The sockets, which the caller owns, and the broker's description of them.

        Raises:
            OSError: as `open`. `is_unknown_key` tells whether the broker is too old for it.
        """
        question = SocketsQuestion(0, (spec,), (), _hold, 0, count)
        try:
            await self._ask([question])
        except BaseException:
            for sock in question.answer or ():
                sock.close()
            raise
        return question.answer, question.reply

    @staticmethod
    def is_unknown_key(error: BrokerProtocolError) -> bool:
        """Return whether a broker refused a request because it does not know one of its keys."""
        return error.strerror is not None and error.strerror.startswith(_UNKNOWN_KEY)

    async def list_namespaces(self) -> NamespaceList:
        """Ask which namespaces this user may use. See `Client.namespaces`."""
        from ..wire.answers import decode_namespaces  # a program that starts for one socket does not need it

        question = BlobQuestion(partial(NamespacesRequest, engines=True), (), decode_namespaces)
        try:
            await self._ask([question])
        except BrokerProtocolError as error:
            if not self.is_unknown_key(error):
                raise
            # The broker is of the previous release, which asks no engine.
            question = BlobQuestion(NamespacesRequest, (), decode_namespaces)
            await self._ask([question])
        answer: NamespaceList = question.answer
        return answer

    def read_resolver_files(self, namespace: NamespaceRef) -> Waiting[ResolverFiles]:
        """Ask for the files by which names are looked up in a namespace. See `Client.resolver_files`."""
        if is_container(namespace):
            return self._containers().resolver_files(str(namespace), self._read_resolver_files)
        return self._read_resolver_files(namespace)

    async def _read_resolver_files(self, namespace: NamespaceRef) -> ResolverFiles:
        from ..wire.answers import decode_resolver_files

        path_fd = open_path(namespace) if type(namespace) is str and "/" in namespace else None
        fd = namespace if type(namespace) is int else path_fd
        try:
            request = partial(ResolverRequest, namespace=namespace if fd is None else 0)
            question = BlobQuestion(request, () if fd is None else (fd,), decode_resolver_files)
            await self._ask([question])
        finally:
            if path_fd is not None:
                os.close(path_fd)
        answer: ResolverFiles = question.answer
        return answer

    def explain(self, spec: SocketSpec, connect: Address | None) -> Waiting[Explanation]:
        """Ask whether this user's grants allow a socket, and a connection from it. See `Client.explain`."""
        if is_container(spec.namespace):
            return self._containers().explain(spec, partial(self._explain, connect=connect))
        return self._explain(spec, connect)

    async def _explain(self, spec: SocketSpec, connect: Address | None) -> Explanation:
        from ..wire.answers import decode_explanation

        specs, path_fds = open_paths((spec,))
        try:
            ((_, (spec,), fds),) = split(specs)
            question = BlobQuestion(partial(ExplainRequest, socket=spec, connect=connect), fds, decode_explanation)
            await self._ask([question])
        except BrokerProtocolError as error:
            if error.strerror is None or not error.strerror.startswith(_UNKNOWN_OPERATION):
                raise
            text = "this broker is too old to explain its policy: look at nsbroker-get list, or ask the administrator"
            raise BrokerProtocolError(errno.EPROTO, f"{text}, who has nsbrokerd explain") from error
        finally:
            for fd in path_fds:
                os.close(fd)
        answer: Explanation = question.answer
        return answer

    def _containers(self) -> Containers:
        """Return the names of containers, which are loaded for the first one."""
        if self._named_containers is None:
            from .containers import Containers

            self._named_containers = Containers()
        self._named_containers.timeout_s = self.timeout_s
        return self._named_containers

    async def _ask(self, questions: Sequence[Question], extra_s: float = 0) -> None:
        """Have all questions answered. When a connection is lost, continue on another one until the time is up.

        Args:
            questions: each gets its `answer`.
            extra_s: seconds that the broker may take in addition to the timeout.
        """
        limit_s = self.timeout_s + extra_s
        deadline = monotonic() + limit_s
        unanswered = [*questions]
        losses = 0
        try:
            while True:
                connection = self._pool.take() or await self._connect(deadline)
                try:
                    return await converse(connection, unanswered, deadline)
                except ConnectionLostError as error:
                    losses += 1
                    if losses > _MOST_LOSSES:
                        raise diagnosis.hung_up(self.path) from error
                finally:
                    self._reached = self._reached or not connection.unanswered
                    self._pool.give_back(connection)
                # The idle connections were lost with the same broker. The first time, there is no pause.
                self._pool.clear()
                await _pause(losses - 1, deadline)
        except DeadlineError as error:
            raise diagnosis.too_late(self.path, limit_s) from error

    async def _connect(self, deadline: float) -> Connection:
        attempts = 0
        while True:
            try:
                connection = await connect_to_broker(self.path, deadline)
            except OSError as error:
                if error.errno not in _RESTARTING or not self._may_be_restarting():
                    raise diagnosis.unreachable(self.path, error) from error
            else:
                self._down_since = None
                return connection
            attempts += 1
            await _pause(attempts, deadline)

    def _may_be_restarting(self) -> bool:
        """Return whether waiting makes sense: the broker answered before, and has not been away for long."""
        if not self._reached:
            return False
        if self._down_since is None:
            self._down_since = monotonic()
        return monotonic() - self._down_since < self.timeout_s


async def _pause(attempts: int, deadline: float) -> None:
    if attempts > 0:
        pause_s = min(0.005 * 2**attempts, _LONGEST_PAUSE_S)
        await wait(min(monotonic() + pause_s, deadline), ())
    if monotonic() >= deadline:
        raise DeadlineError


def _is_plain(spec: SocketSpec) -> bool:
    """Return whether the protocol can carry a spec as it is."""
    return type(spec.namespace) is str and "/" not in spec.namespace and not spec.type & _CLOEXEC
