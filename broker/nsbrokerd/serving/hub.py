"""The hub: one task serves all clients, from an epoll that trio awaits as one descriptor.

A task for each client would cost more for each request, and twice the memory for ten thousand clients. Users take turns
of one request each, and so do the connections of a user: a user with a thousand connections is served as often as a
user with one. A request that has to wait gets its own task.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time

import structlog
import trio

from nsbroker.wire import BAD_REQUEST, ErrorReply

from ..clients.admission import Admission, Users
from ..clients.client import Client, DescriptorsLeftError, User
from ..clients.closer import Closer
from ..clients.quotas import Quotas
from .intake import Intake

_CHECKPOINT_S = 0.005
"""While some requests have tasks: how long the hub serves others before the tasks run."""

_PATIENCE_S = 0.05
"""Otherwise: how long the hub serves, and then waits for the next request, before trio runs. Waiting by trio costs half
as much as a request. Only signals and the sweep have to wait for it."""

_COUNTED_S = 1.0
_SWEEP_S = 1.0
_STOP_S = 2.0
"""How long the broker serves requests that were sent before it stopped."""

_ACCEPT_PAUSE_S = 0.1

log = structlog.get_logger()


class Turn:
    """The clients of a user, by their descriptors, and the epoll by which they take turns with each other."""

    __slots__ = ("clients", "epoll")

    def __init__(self) -> None:
        """Make the epoll.

        Raises:
            OSError: no descriptor is left.
        """
        self.epoll = select.epoll()
        self.clients: dict[int, Client] = {}

    def next(self) -> list[tuple[Client, int]]:
        """Return the client whose turn it is, with its event.

        The only client of a user is it for certain, which saves a system call. If the broker waits until this client
        has read its replies, it can be here because it hung up, so the event counts.
        """
        if len(self.clients) == 1:
            for client in self.clients.values():
                if client.blocked_since is None:
                    return [(client, select.EPOLLIN)]
        return [(self.clients[fd], event) for fd, event in self.epoll.poll(0, 1)]


class Hub:
    """Accepts clients, and gives each user and each connection its turns."""

    def __init__(self, listener: socket.SocketType, intake: Intake, closer: Closer, quotas: Quotas) -> None:
        self._listener = listener
        self._intake = intake
        self._closer = closer
        self._users = Users(quotas)
        self._admission = Admission(listener, self._users, closer)
        self._clients: dict[int, Client] = {}
        self._turns: dict[int, Turn] = {}
        self._turn_of: dict[User, Turn] = {}
        self._blocked: set[Client] = set()
        self._epoll = select.epoll()
        self._accepts_again_at: float | None = None
        self._epoll.register(self._listener.fileno(), select.EPOLLIN)

    def use(self, quotas: Quotas) -> None:
        """Apply new quotas. Connected clients stay connected."""
        self._users.quotas = quotas

    async def run(self) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._sweep)
            nursery.start_soon(self._record_counted)
            while True:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
                await self._serve_ready()

    async def _serve_ready(self) -> None:
        """Serve until no client has been ready for a while, with a checkpoint now and then.

        The kernel goes round the ready ones (epoll_wait(2)), so the hub asks for one at a time: the one that has waited
        longest. If it took several at once, the last of them could not ask again before the next round, and would miss
        every second round.
        """
        others_ran_at = time.monotonic()
        while ready := self._epoll.poll(0 if self._intake.is_busy else _PATIENCE_S, 1):
            now = time.monotonic()
            if now - others_ran_at >= (_CHECKPOINT_S if self._intake.is_busy else _PATIENCE_S):
                await trio.lowlevel.checkpoint()
                others_ran_at = time.monotonic()
            self._give_turn(ready[0][0], now)

    def _give_turn(self, fd: int, now: float) -> None:
        """Serve a client of the user that owns this epoll, or accept clients."""
        turn = self._turns.get(fd)
        if turn is not None:
            for client, event in turn.next():
                self._serve(client, event, now)
        elif fd == self._listener.fileno():  # otherwise the epoll's user was dropped meanwhile
            self._accept(now)

    def _serve(self, client: Client, event: int, now: float) -> None:
        """Serve one request of a client that is ready, or drop a client that is gone."""
        if event & (select.EPOLLHUP | select.EPOLLERR):
            self._drop(client)
            return
        try:
            if not client.reads_its_replies():
                self._block(client, now)
                return
            if client.blocked_since is not None:
                self._unblock(client)
            keep = self._intake.serve_one(client, now, self._users.quotas)
        except DescriptorsLeftError as error:
            keep = False
            log.warning("client dropped: it leaves its descriptors", uid=client.user.uid, pid=client.peer.pid)
            with contextlib.suppress(OSError):
                client.refuse(ErrorReply(None, BAD_REQUEST, str(error)))
        except OSError as error:
            keep = False
            log.debug("client lost", uid=client.user.uid, pid=client.peer.pid, reason=str(error))
        if not keep:
            self._drop(client)

    def _block(self, client: Client, now: float) -> None:
        """Take no more requests of a client until it has read its replies."""
        if client.blocked_since is None:
            client.blocked_since = now
            self._blocked.add(client)
        self._turn_of[client.user].epoll.modify(client.fd, select.EPOLLOUT)

    def _unblock(self, client: Client) -> None:
        client.blocked_since = None
        self._blocked.discard(client)
        self._turn_of[client.user].epoll.modify(client.fd, select.EPOLLIN)

    def _drop(self, client: Client) -> None:
        self._turn_of[client.user].epoll.unregister(client.fd)
        self._forget(client)

    def _forget(self, client: Client) -> None:
        self._blocked.discard(client)
        del self._clients[client.fd]
        self._users.leave(client.user)
        if (turn := self._turn_of.get(client.user)) is not None:
            turn.clients.pop(client.fd, None)
            if client.user.clients == 0:
                del self._turn_of[client.user]
                del self._turns[turn.epoll.fileno()]
                turn.epoll.close()
        client.close_channel()
        self._closer.hang_up(client.user.uid, client.sock)

    def _accept(self, now: float) -> None:
        clients, trouble = self._admission.accept(now)
        for client in clients:
            self._clients[client.fd] = client
            try:
                turn = self._turn(client.user)
                turn.epoll.register(client.fd, select.EPOLLIN)
                turn.clients[client.fd] = client
            except OSError as error:  # root has no epoll watch left (epoll(7)), or the kernel no memory
                trouble = error
                self._forget(client)
        if trouble is not None:
            # Most likely no descriptor is left. Connected clients are served, others wait in the socket's backlog.
            log.error("can't accept clients; trying again soon", reason=str(trouble))
            # The listener stays registered: another process might take the watch that registering it again needs.
            self._epoll.modify(self._listener.fileno(), 0)
            self._accepts_again_at = now + _ACCEPT_PAUSE_S

    def _turn(self, user: User) -> Turn:
        """Return the turn of a user, which the hub's own epoll watches. It exists while the user has connections.

        Raises:
            OSError: no descriptor or no watch is left.
        """
        turn = self._turn_of.get(user)
        if turn is None:
            turn = Turn()
            try:
                self._epoll.register(turn.epoll.fileno(), select.EPOLLIN)
            except OSError:
                turn.epoll.close()
                raise
            self._turns[turn.epoll.fileno()] = self._turn_of[user] = turn
        return turn

    async def _sweep(self) -> None:
        """Drop clients that do not read their replies, accept again after a pause, and forget users that are gone."""
        while True:
            await trio.sleep(_SWEEP_S if self._accepts_again_at is None else _ACCEPT_PAUSE_S)
            now = time.monotonic()
            if self._accepts_again_at is not None and now >= self._accepts_again_at:
                self._accepts_again_at = None
                self._epoll.modify(self._listener.fileno(), select.EPOLLIN)
            deadline = now - self._users.quotas.reply_timeout_s
            for client in [one for one in self._blocked if (one.blocked_since or now) < deadline]:
                log.warning("client dropped: it does not read its replies", uid=client.user.uid, pid=client.peer.pid)
                self._drop(client)
            self._users.forget_idle(now)
            self._closer.interrupt()

    async def _record_counted(self) -> None:
        """Let the audit have the number of refusals that past their rate get no record, each second."""
        while True:
            await trio.sleep(_COUNTED_S)
            self._intake.record_counted()

    def finish(self) -> None:
        """Serve for a while the requests that clients have already sent, then drop all clients."""
        self._epoll.unregister(self._listener.fileno())
        end = time.monotonic() + _STOP_S
        while (events := self._epoll.poll(0)) and (now := time.monotonic()) < end:
            for fd, _ in events:
                self._give_turn(fd, now)
        self._intake.record_counted()
        for client in list(self._clients.values()):
            self._drop(client)
        self._epoll.close()
