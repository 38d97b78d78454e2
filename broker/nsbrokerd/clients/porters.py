"""All porters: one process for each person whose descriptors must be received or dropped.

A porter carries out one order after the other. If it hangs, only its person waits. The broker waits for no porter: it
gives an order, and goes on once the answer is there.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from .porter import File, Owner, Porter, Taken
from .porter_programs import MAX_LAST_RESORTS, LastResort, Mother

MAX_PORTERS = 64
"""Of all persons. Those that no grant names have half of them. Persons without a porter share one for what the broker
must drop, and it takes no packets."""

IDLE_S = 10.0
"""A porter without orders ends after this time."""

_LOOK_AT = 16

log = structlog.get_logger(about_no_client=True)


@dataclass(slots=True, eq=False)
class _Stranded:
    """Files that a program of the last resort has."""

    program: LastResort
    files: list[File]


class Porters:
    """Starts porters, gives them orders, and ends those that have none.

    Attributes:
        connections: the number of connections that are not closed yet.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.connections = 0
        self._clock = clock
        # By uid: a porter that hangs is not forgotten with its person. None is for the common one.
        self._of: dict[int | None, Porter] = {}
        self._uids: dict[int, int | None] = {}
        self._epoll = select.epoll()
        self._mother: Mother | None = None
        self._without: list[File] = []
        self._stranded: list[_Stranded] = []

    def start(self) -> None:
        """Start the process from which porters are forked. Otherwise this happens at need.

        Raises:
            OSError: it can't be started.
        """
        self._mother = self._mother or Mother()

    def fileno(self) -> int:
        """Return a descriptor that is readable when `serve` has something to do."""
        return self._epoll.fileno()

    @property
    def held(self) -> int:
        """The number of descriptors in this process that wait to be closed."""
        return len(self._without) + sum(porter.held for porter in self._of.values())

    def files_of(self, owner: Owner) -> int:
        """Return how many files of a person, besides connections, are not closed yet."""
        porter = self._of.get(owner.uid)
        return 0 if porter is None else porter.files

    def take(self, owner: Owner, connection: socket.SocketType, most: int) -> Taken | None:
        """Let a porter take a packet off a connection, with at most this number of descriptors.

        Until the porter has answered, this process must not look into the connection's queue: if it looked while the
        porter takes the packet, it would be the last to have the descriptors.

        Returns:
            The descriptors to wait for. None if no porter can take them, or too many packets wait for it.
        """
        porter = self._porter_of(owner)
        return None if porter is None else porter.take(connection.fileno(), most)

    def drop(self, owner: Owner, connection: int, *, has_courtesy: bool) -> None:
        """Take over a connection. Its porter drops its packets and closes it, after all earlier orders.

        Args:
            owner: the person.
            connection: the descriptor.
            has_courtesy: whether the other end may still read its replies.
        """
        owner.closing += 1
        self.connections += 1
        self._put(owner, File(connection, owner, has_courtesy))

    def close(self, owner: Owner, fd: int) -> None:
        """Take over a file that is no connection. The person's porter closes it."""
        self._put(owner, File(fd))

    def _put(self, owner: Owner, file: File) -> None:
        porter = self._porter_of(owner) or self._porter_of(None)
        self._without += [file] if porter is None else porter.put(file)

    def serve(self) -> None:
        """Hear some answers."""
        for fd, _ in self._epoll.poll(0, _LOOK_AT):
            uid = self._uids[fd]
            porter = self._of[uid]
            closed = porter.hear()
            if closed is None:
                log.warning("a process for descriptors of clients was killed; another one starts when it is needed")
                self._end(uid)
            else:
                self._count_closed(closed)
                self._without += porter.send_waiting()

    def sweep(self) -> None:
        """Go on without porters that hang, and end those that are idle. Call this each second."""
        now = self._clock()
        for uid, porter in list(self._of.items()):
            porter.look(now)
            if porter.is_idle and now - porter.used_at > IDLE_S:
                self._end(uid)
        for one in [each for each in self._stranded if each.program.has_ended()]:
            self._stranded.remove(one)
            self._count_closed(one.files)
        self._strand()

    def finish(self) -> None:
        """Leave all files to the porters, which go on after the end of this process."""
        for porter in self._of.values():
            self._without += porter.send_waiting(at_any_rate=True)
        self._strand()
        for uid in list(self._of):
            self._end(uid)
        self._epoll.close()
        if self._mother is not None:
            self._mother.end()

    def _porter_of(self, owner: Owner | None) -> Porter | None:
        """Return the porter of a person, or the common one. It is started now if need be."""
        porter = self._of.get(None if owner is None else owner.uid)
        if porter is None and (owner is None or self._has_room(owner)):
            porter = self._fork(owner)
        return porter

    def _has_room(self, owner: Owner) -> bool:
        """Return whether there can be one more porter. End an idle one for it."""
        if len(self._of) >= MAX_PORTERS:
            idle = [(porter.used_at, uid) for uid, porter in self._of.items() if porter.is_idle]
            if not idle:
                return False
            self._end(min(idle, key=lambda each: each[0])[1])
        return owner.is_named or sum(not porter.is_named for porter in self._of.values()) < MAX_PORTERS // 2

    def _fork(self, owner: Owner | None) -> Porter | None:
        try:
            sock = self._connect()
        except BlockingIOError:
            return None
        except OSError as error:
            log.error("can't start a process for descriptors of clients; trying again", reason=str(error))
            return None
        uid = None if owner is None else owner.uid
        porter = self._of[uid] = Porter(sock, self._clock, is_named=owner is None or owner.is_named)
        self._uids[sock.fileno()] = uid
        self._epoll.register(sock.fileno(), select.EPOLLIN)
        return porter

    def _connect(self) -> socket.socket:
        """Start a porter, and return the connection to it.

        Raises:
            OSError: it can't be started.
        """
        if self._mother is not None:
            try:
                return self._mother.fork()
            except BrokenPipeError:  # it was killed
                self._mother.end()
        self._mother = Mother()
        return self._mother.fork()

    def _end(self, uid: int | None) -> None:
        """End a porter, or forget one that has ended."""
        porter = self._of.pop(uid)
        del self._uids[porter.sock.fileno()]
        self._epoll.unregister(porter.sock.fileno())
        waiting, had = porter.end()
        self._without += waiting
        self._count_closed(had)

    def _count_closed(self, files: Iterable[File]) -> None:
        for file in files:
            if file.owner is not None:
                file.owner.closing -= 1
                self.connections -= 1

    def _strand(self) -> None:
        """Let a program of the last resort close the files that no porter can get."""
        if self._without and len(self._stranded) < MAX_LAST_RESORTS:
            try:
                program = LastResort([file.fd for file in self._without])
            except OSError as error:
                log.error("can't start a process to close files of clients; trying again", reason=str(error))
                return
            self._stranded.append(_Stranded(program, self._without))
            self._without = []
