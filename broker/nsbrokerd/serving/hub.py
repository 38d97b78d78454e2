"""The hub: one task serves all clients, from an epoll that trio awaits as one descriptor.

A task for each client would cost more for each request, and twice the memory for ten thousand clients. Persons take
turns by the time that their requests take (see `turns`), and the connections of a person take turns of one request
each. A person with a thousand connections is served as much as one with a single connection. A request that has to wait
gets its own task.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial

import structlog
import trio

from nsbroker.wire import BAD_REQUEST, MAX_SOCKETS, ErrorReply

from ..clients.admission import DESCRIPTORS_BESIDE_CLIENTS, DESCRIPTORS_FOR_CLIENT, Admission
from ..clients.client import Client, DescriptorsLeftError, Person
from ..clients.closer import Closer
from ..clients.persons import Persons
from ..clients.quotas import Quotas
from .intake import Cut, Intake
from .rest import Rest
from .turn import Chore, Turn
from .turn_time import LONG_S, TurnTime
from .turns import Turns

_CHECKPOINT_S = 0.005
"""While some requests have tasks: how long the hub serves others before the tasks run."""

_PATIENCE_S = 0.05
"""Otherwise: how long the hub serves, and then waits for the next request, before trio runs. Waiting by trio costs half
as much as a request. Only signals and the sweep have to wait for it."""

_LOOK_AT = 16
"""How many of the persons that are ready the hub compares for a turn. The kernel shows others the next time, so nobody
is left out, and a turn costs no more with thousands of persons."""

MAX_CUT_OF_USER = 16
"""Requests of a user that may be in progress at the same time: cut, or waiting for the user's porter or thread. With so
many, further requests of the user wait."""
MAX_CUT = 64
"""Users that may have a request that is cut, and does not wait. Large requests of further users are served in one
piece. A user that has such a request has no other one served meanwhile."""
_DESCRIPTORS_OF_CUT = 3 * MAX_SOCKETS
"""A request holds at most this number of sockets, and of namespaces. A user's thread can have as many sockets again."""

_GONE = int(select.EPOLLHUP | select.EPOLLERR)

_COUNTED_S = 1.0
_SWEEP_S = 1.0
_STOP_S = 2.0
"""How long the broker serves requests that were sent before it stopped."""

_ACCEPT_PAUSE_S = 0.02
"""After a failed accept. Accepting fails only if processes other than clients have all descriptors or watches."""

log = structlog.get_logger()


class Hub:
    """Accepts clients, and gives each user and each connection its turns."""

    def __init__(
        self,
        listener: socket.SocketType,
        intake: Intake,
        closer: Closer,
        quotas: Quotas,
        persons: Persons | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._listener = listener
        self._intake = intake
        self._closer = closer
        self._persons = persons or Persons(quotas)
        self._admission = Admission(listener, self._persons, closer)
        self._clients: dict[int, Client] = {}
        self._clock = clock
        self._time = TurnTime()
        self._order = Turns()
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._wake_lock = threading.Lock()
        self._turns: dict[int, Turn | Chore] = {
            listener.fileno(): Chore(self._accept),
            self._wake_fd: Chore(self._wake_up),
            closer.fileno(): Chore(self._hear_porters),
        }
        self._turn_of: dict[Person, Turn] = {}
        self._blocked: set[Client] = set()
        self._cut: dict[Client, Cut] = {}
        self._cut_turns: dict[Turn, None] = {}  # those with a cut request that can go on
        self._woken: deque[tuple[Client, Cut]] = deque()
        self._max_cut = _max_cut(quotas)
        self._epoll = select.epoll()
        self._epoll.register(self._listener.fileno(), select.EPOLLIN)
        self._epoll.register(self._wake_fd, select.EPOLLIN)
        self._epoll.register(closer.fileno(), select.EPOLLIN)
        self._rest = Rest(self._epoll, self._listener.fileno())
        self._turn_now: Turn | Chore | None = None
        self._others_ran_at = 0.0

    def use(self, quotas: Quotas) -> None:
        """Apply new quotas. Connected clients stay connected."""
        self._persons.quotas = quotas
        self._max_cut = _max_cut(quotas)

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

        The hub serves one request, and then asks the kernel again. If it served several at once, the last of them could
        not ask again before the next round, and would miss every second round.
        """
        self._others_ran_at = self._clock()
        while (
            ready := self._epoll.poll(0 if self._intake.is_busy or self._cut_turns else _PATIENCE_S, _LOOK_AT)
        ) or self._cut_turns:
            now = self._clock()
            if self._must_let_others_run(now):
                await trio.lowlevel.checkpoint()
                self._time.look()
                self._others_ran_at = self._clock()
                continue  # the sweep may have dropped those that were ready
            self._give_turn(ready, now)

    def _must_let_others_run(self, now: float) -> bool:
        return now - self._others_ran_at >= (_CHECKPOINT_S if self._intake.is_busy else _PATIENCE_S)

    def is_awaited(self) -> bool:
        """Return whether others wait for the end of the present turn: other users, new clients or other tasks."""
        turn = self._turn_now
        if self._must_let_others_run(self._clock()) or len(self._cut_turns) > (turn in self._cut_turns):
            return True
        return any(self._turns[fd] is not turn for fd, _ in self._epoll.poll(0, 2))

    def _give_turn(self, ready: list[tuple[int, int]], now: float) -> None:
        """Serve a client of the user that comes first, or accept clients. The time counts as used by that user.

        Of equal ones, the kernel lists first the one that has waited longest (epoll_wait(2)).
        """
        if len(ready) == 1 and not self._cut_turns:
            turn = self._turns[ready[0][0]]
        else:
            turn = self._order.first([*(self._turns[fd] for fd, _ in ready), *self._cut_turns])
        self._turn_now = turn
        if isinstance(turn, Chore):
            turn.do(now)
        elif turn.cut:
            self._resume(turn)
            if turn.held:
                self._let_go_on(turn)
        else:
            for client, event in turn.next():
                self._serve(turn, client, event, now)
            if turn.held:
                self._let_go_on(turn)
        took = self._clock() - now
        self._order.charge(turn.account, took if took < LONG_S else self._time.correct(took))

    def charge(self, person: Person, took: float) -> None:
        """Count the time that a task of a person has taken."""
        self._order.charge(person, took if took < LONG_S else self._time.correct(took))

    def _serve(self, turn: Turn, client: Client, event: int, now: float) -> None:
        """Serve one request of a client that is ready, or drop a client that is gone."""
        keep: bool | Cut
        if event & _GONE:
            self._drop(client)
            return
        try:
            if not client.reads_its_replies():
                self._block(client, now)
                return
            if client.blocked_since is not None:
                self._unblock(client)
            if turn.muted >= MAX_CUT_OF_USER:
                turn.epoll.modify(client.fd, 0)
                turn.held[client] = None
                return
            keep = self._intake.serve_one(client, now, self._persons.quotas)
        except DescriptorsLeftError as error:
            keep = False
            log.warning("client dropped: it leaves its descriptors", uid=client.person.uid, pid=client.peer.pid)
            with contextlib.suppress(OSError):
                client.refuse(ErrorReply(None, BAD_REQUEST, str(error)))
        except OSError as error:
            keep = _lose(client, error)
        if keep is not True:
            self._cut_or_drop(client, keep)

    def _cut_or_drop(self, client: Client, keep: Cut | bool) -> None:
        """Keep a request that was cut, or drop a client that can't go on."""
        if isinstance(keep, Cut):
            keep = self._go_on_uncut(client, keep)
        if isinstance(keep, Cut):
            turn = self._turn_of[client.person]
            if client not in self._cut:
                turn.muted += 1
                turn.epoll.modify(client.fd, 0)
            self._cut[client] = keep
            if keep.awaited is None:
                turn.cut.append(client)
                self._cut_turns[turn] = None
            else:
                keep.awaited.when_done(partial(self._wake, client, keep))
        elif not keep:
            self._drop(client)
        elif self._cut.pop(client, None) is not None:
            self._unmute(client)

    def _let_go_on(self, turn: Turn) -> None:
        """Look again at a client whose request waits, if fewer requests of its user are in progress now."""
        if turn.muted < MAX_CUT_OF_USER:
            client = next(iter(turn.held))
            del turn.held[client]
            turn.epoll.modify(client.fd, select.EPOLLIN)

    def _go_on_uncut(self, client: Client, cut: Cut) -> Cut | bool:
        """Go on with a request without a cut, if too many users have cut ones already."""
        keep: Cut | bool = cut
        if client not in self._cut and len(self._cut_turns) >= self._max_cut:
            try:
                while isinstance(keep, Cut) and keep.awaited is None:
                    keep = self._intake.resume(keep)
            except OSError as error:
                return _lose(client, error)
        return keep

    def _resume(self, turn: Turn) -> None:
        """Go on with a request of a user that was cut."""
        client = turn.cut.popleft()
        if not turn.cut:
            del self._cut_turns[turn]
        try:
            keep = self._intake.resume(self._cut[client])
        except OSError as error:
            keep = _lose(client, error)
        self._cut_or_drop(client, keep)

    def _wake(self, client: Client, cut: Cut) -> None:
        """Let a request go on that has waited. Any thread may call this."""
        self._woken.append((client, cut))
        with self._wake_lock:
            if self._wake_fd >= 0:
                os.eventfd_write(self._wake_fd, 1)

    def _wake_up(self, _now: float) -> None:
        os.eventfd_read(self._wake_fd)
        while self._woken:
            client, cut = self._woken.popleft()
            if self._cut.get(client) is cut:  # otherwise it was dropped meanwhile
                turn = self._turn_of[client.person]
                turn.cut.append(client)
                self._cut_turns[turn] = None

    def _hear_porters(self, _now: float) -> None:
        self._closer.serve()

    def _unmute(self, client: Client) -> None:
        turn = self._turn_of[client.person]
        turn.muted -= 1
        turn.epoll.modify(client.fd, select.EPOLLIN)

    def _block(self, client: Client, now: float) -> None:
        """Take no more requests of a client until it has read its replies."""
        if client.blocked_since is None:
            client.blocked_since = now
            self._blocked.add(client)
        self._turn_of[client.person].epoll.modify(client.fd, select.EPOLLOUT)

    def _unblock(self, client: Client) -> None:
        client.blocked_since = None
        self._blocked.discard(client)
        self._turn_of[client.person].epoll.modify(client.fd, select.EPOLLIN)

    def _drop(self, client: Client) -> None:
        self._turn_of[client.person].epoll.unregister(client.fd)
        self._forget(client)

    def _forget(self, client: Client) -> None:
        self._blocked.discard(client)
        if (cut := self._cut.pop(client, None)) is not None:
            cut.steps.close()
            its_turn = self._turn_of[client.person]
            its_turn.muted -= 1
            if client in its_turn.cut:
                its_turn.cut.remove(client)
            if not its_turn.cut:
                self._cut_turns.pop(its_turn, None)
        del self._clients[client.fd]
        self._persons.leave(client.person)
        if (turn := self._turn_of.get(client.person)) is not None:
            turn.clients.pop(client.fd, None)
            turn.held.pop(client, None)
            if client.person.clients == 0:
                del self._turn_of[client.person]
                del self._turns[turn.epoll.fileno()]
                turn.epoll.close()
        client.close_channel()
        self._closer.hang_up(client.person, client.sock, is_at_porter=client.is_at_porter)

    def _accept(self, now: float) -> None:
        clients, trouble = self._admission.accept(now)
        for client in clients:
            self._clients[client.fd] = client
            try:
                turn = self._turn(client.person)
                turn.epoll.register(client.fd, select.EPOLLIN)
                turn.clients[client.fd] = client
            except OSError as error:  # root has no epoll watch left (epoll(7)), or the kernel no memory
                trouble = error
                self._forget(client)
        if trouble is not None:
            # Most likely no descriptor is left. Connected clients are served, others wait in the socket's backlog.
            log.error("can't accept clients; trying again soon", reason=str(trouble))
            self._rest.begin(_ACCEPT_PAUSE_S)
        elif self._admission.rest_s:
            self._rest.begin(self._admission.rest_s)

    def _turn(self, person: Person) -> Turn:
        """Return the turn of a user, which the hub's own epoll watches. It exists while the user has connections.

        Raises:
            OSError: no descriptor or no watch is left.
        """
        turn = self._turn_of.get(person)
        if turn is None:
            turn = Turn(person)
            try:
                self._epoll.register(turn.epoll.fileno(), select.EPOLLIN)
            except OSError:
                turn.epoll.close()
                raise
            self._turns[turn.epoll.fileno()] = self._turn_of[person] = turn
        return turn

    async def _sweep(self) -> None:
        """Drop clients that do not read their replies, and forget users that are gone."""
        while True:
            await trio.sleep(_SWEEP_S)
            now = self._clock()
            deadline = now - self._persons.quotas.reply_timeout_s
            for client in [one for one in self._blocked if (one.blocked_since or now) < deadline]:
                log.warning("client dropped: it does not read its replies", uid=client.person.uid, pid=client.peer.pid)
                self._drop(client)
            self._persons.forget_idle(now)
            self._closer.sweep()
            self._admission.report()

    async def _record_counted(self) -> None:
        """Let the audit have the number of refusals that past their rate get no record, each second."""
        while True:
            await trio.sleep(_COUNTED_S)
            self._intake.record_counted()

    def finish(self) -> None:
        """Serve for a while the requests that clients have already sent, then drop all clients.

        Those whose requests were cut get no answer, so they ask the next broker.
        """
        self._rest.end()
        self._epoll.unregister(self._listener.fileno())
        end = self._clock() + _STOP_S
        while (now := self._clock()) < end:
            is_waiting = bool(self._cut) and not self._cut_turns
            ready = self._epoll.poll(end - now if is_waiting else 0, _LOOK_AT)
            if not (ready or self._cut_turns):
                break
            self._give_turn(ready, now)
        for client in list(self._clients.values()):
            self._drop(client)
        self._intake.record_counted(at_end=True)
        self._epoll.close()
        with self._wake_lock:
            wake_fd, self._wake_fd = self._wake_fd, -1
        os.close(wake_fd)


def _lose(client: Client, error: OSError) -> bool:
    """Log that a client is gone, and return False: its connection can't go on."""
    log.debug("client lost", uid=client.person.uid, pid=client.peer.pid, reason=str(error))
    return False


def _max_cut(quotas: Quotas) -> int:
    """Return how many users may have a cut request at the same time, so that descriptors are left for all clients."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = descriptors - DESCRIPTORS_BESIDE_CLIENTS - (DESCRIPTORS_FOR_CLIENT + 1) * quotas.clients
    return max(1, min(MAX_CUT, spare // _DESCRIPTORS_OF_CUT))
