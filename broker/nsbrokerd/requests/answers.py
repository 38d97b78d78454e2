"""The memory of answers that clients still hold, and its quotas.

The broker hands out long answers as memfds. The kernel counts their memory for the broker, for as long as any process
holds them. So the broker keeps a descriptor of each one. It asks the kernel for a lease, which it gets only if nobody
else has the memfd open. Then the broker forgets it. A hostile client can keep the memory all the same. So the broker
also asks the kernel how much memory all answers take, and counts the difference for the unnamed persons.

Equal answers for one person share a memfd, so a thousand clients with the same question hold one answer. Persons never
share one, since each could see when the other reads.

Source: fcntl(2) for seals and leases, memfd_create(2).
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from io import FileIO

from ..clients.client import Person

MAX_ANSWER_BYTES = 2**23
"""A longer answer is refused. The files for look-ups have at most 7 MB, if they are UTF-8."""

MAX_HELD_BYTES = 2**27
"""Answers of all persons. Those that no grant names get half of it."""

MAX_HELD_FOR_PERSON_BYTES = 2**24

MAX_HELD = 1024
"""The number of answers of all persons. Each takes a descriptor of the broker. Unnamed persons get half of them."""

MAX_HELD_FOR_PERSON = 512

_PAGE_BYTES = 4096
_INODE_BYTES = 4096
"""More than the kernel's own data about a memfd."""

_MEASURED_BYTES = 2**20
"""After each such number of bytes in answers, the broker asks how much memory all answers take. This takes 0.1 ms."""

_LEAST_SEARCH_PAUSE_S = 0.05
"""The least time between two searches of all answers for those that nobody has open any more. A search takes 2 ms."""

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_READ = os.O_RDONLY | os.O_CLOEXEC

Key = tuple[int, int]
"""The hash of an answer, and its number among different answers with the same hash."""


class TooMuchHeldError(Exception):
    """The clients of a person, or of all persons, hold too many answers."""


class _Held:
    """An answer that a client may still hold. `fd` is not the description that the client has."""

    __slots__ = ("bytes", "fd", "size")

    def __init__(self, fd: int, size: int) -> None:
        self.fd = fd
        self.size = size
        self.bytes = _cost(size)

    def open(self) -> FileIO:
        """Open it anew, with an offset of its own, and for reading only.

        Raises:
            OSError: no descriptor is left.
        """
        return FileIO(os.open(f"/proc/self/fd/{self.fd}", _READ), "rb")

    def is_in_use(self) -> bool:
        """Return whether another open file description of it exists, in a process, in a packet, or in a mapping."""
        try:
            fcntl.fcntl(self.fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError:
            return True
        fcntl.fcntl(self.fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return False


def _make_held(parts: Sequence[bytes]) -> Generator[None, None, _Held]:
    """Make a memfd with this content, which no process can change any more. Yield after each part.

    Raises:
        OSError: no descriptor or no memory is left.
    """
    writer = os.memfd_create("nsbroker", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.fchmod(writer, 0o400)  # without this, clients could open it for writing, and add attributes
        for part in parts:
            rest = memoryview(part)
            while rest:
                rest = rest[os.write(writer, rest) :]
            yield
        fcntl.fcntl(writer, fcntl.F_ADD_SEALS, _SEALS)
        return _Held(os.open(f"/proc/self/fd/{writer}", _READ), sum(map(len, parts)))
    finally:
        os.close(writer)


def _equals(file: FileIO, parts: Sequence[bytes]) -> Generator[None, None, bool]:
    """Return whether a file has this content. Yield after each part."""
    at = 0
    for part in parts:
        if os.pread(file.fileno(), len(part), at) != part:
            return False
        at += len(part)
        yield
    return os.fstat(file.fileno()).st_size == at


def _hash(parts: Sequence[bytes]) -> Generator[None, None, int]:
    """Return the hash of this content. Yield after each part."""
    hashes = []
    for part in parts:
        hashes.append(hash(part))
        yield
    return hash(tuple(hashes))


def _cost(size: int) -> int:
    """Return the memory that an answer takes."""
    return -(-size // _PAGE_BYTES) * _PAGE_BYTES + _INODE_BYTES


class _Share:
    """The answers of one person."""

    def __init__(self) -> None:
        self.is_named = True
        self.held: dict[Key, _Held] = {}
        self.bytes = 0

    def release_unused(self) -> None:
        """Close the answers that nobody else has open."""
        for key, held in list(self.held.items()):
            if not held.is_in_use():
                os.close(held.fd)
                self.bytes -= held.bytes
                del self.held[key]


class Answers:
    """All answers that clients may still hold, by the uids of their persons."""

    def __init__(
        self, measure: Callable[[], int | None] = lambda: None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Count answers. `measure` returns the memory that the kernel counts for all of them, if it is known."""
        self._measure = measure
        self._clock = clock
        self._unmeasured = _MEASURED_BYTES
        self._lost = 0
        self._being_made = 0
        self._shares: dict[int, _Share] = {}
        self._searched_at = -_LEAST_SEARCH_PAUSE_S

    def open(self, person: Person, data: bytes) -> FileIO:
        """Return an answer for a person as a sealed file, which the caller owns.

        Raises:
            TooMuchHeldError: the person's clients, or those of all persons, hold too much.
            OSError: no descriptor or no memory is left.
        """
        steps = self.open_in_steps(person, (data,))
        while True:
            try:
                next(steps)
            except StopIteration as end:
                file: FileIO = end.value
                return file

    def open_in_steps(self, person: Person, parts: Sequence[bytes]) -> Generator[None, None, FileIO]:
        """Do the same for an answer in parts. Yield after each step with a part.

        Other answers can come and go between the steps, also an equal one.
        """
        hashed = yield from _hash(parts)
        file, number = yield from self._find(person, hashed, 0, parts)
        if file is not None:
            return file
        cost = _cost(sum(map(len, parts)))
        self._make_room(self._share_of(person), cost)
        self._being_made += cost
        try:
            held = yield from _make_held(parts)
        finally:
            self._being_made -= cost
        try:
            file, number = yield from self._find(person, hashed, number, parts)
            if file is not None:
                os.close(held.fd)
                return file
            share = self._share_of(person)
            self._make_room(share, cost)
            file = held.open()
        except BaseException:
            os.close(held.fd)
            raise
        self._unmeasured += held.bytes
        self._shares[person.uid] = share
        share.held[hashed, number] = held
        share.bytes += held.bytes
        return file

    def _find(
        self, person: Person, hashed: int, number: int, parts: Sequence[bytes]
    ) -> Generator[None, None, tuple[FileIO | None, int]]:
        """Open an equal answer of the person, from this number on, or return the next number that is free."""
        while (share := self._shares.get(person.uid)) and (held := share.held.get((hashed, number))):
            file = held.open()  # so that it is in use, and stays, until it is compared
            is_equal = False
            try:
                is_equal = yield from _equals(file, parts)
            finally:
                if not is_equal:
                    file.close()
            if is_equal:
                return file, number
            number += 1
        return None, number

    def release_unused(self) -> None:
        """Forget the answers that nobody has open any more. Call this each second."""
        self._searched_at = self._clock()
        for uid, share in list(self._shares.items()):
            share.release_unused()
            if not share.held:
                del self._shares[uid]

    def _share_of(self, person: Person) -> _Share:
        share = self._shares.get(person.uid) or _Share()
        share.is_named = person.is_named
        return share

    def usage(self) -> dict[str, tuple[int, int]]:
        """Return how much is in use, and the most, of each quota of answers."""
        shares = self._shares.values()
        number, size = sum(len(share.held) for share in shares), sum(share.bytes for share in shares)
        return {"answers": (number, MAX_HELD), "bytes of answers": (size + self._lost, MAX_HELD_BYTES)}

    def _make_room(self, share: _Share, more: int) -> None:
        """Make sure that a person may hold one more answer of this size in bytes."""
        if not _has_room([share], more, MAX_HELD_FOR_PERSON, MAX_HELD_FOR_PERSON_BYTES):
            share.release_unused()
            if not _has_room([share], more, MAX_HELD_FOR_PERSON, MAX_HELD_FOR_PERSON_BYTES):
                raise TooMuchHeldError("the clients of this user hold too many answers; close some of their files")
        if self._unmeasured >= _MEASURED_BYTES:
            self._find_lost()
        if not self._has_room_for_all(share, more):
            if self._clock() - self._searched_at >= _LEAST_SEARCH_PAUSE_S:
                self.release_unused()
                self._find_lost()
            if not self._has_room_for_all(share, more):
                raise TooMuchHeldError("the clients of all users hold too many answers; try again later")

    def _find_lost(self) -> None:
        """Measure the memory of answers that the broker has forgotten, although some client keeps it."""
        self._unmeasured = 0
        measured = self._measure()
        known = sum(held.bytes - _INODE_BYTES for share in self._shares.values() for held in share.held.values())
        self._lost = 0 if measured is None else max(0, measured - known - self._being_made)

    def _has_room_for_all(self, share: _Share, more: int) -> bool:
        shares = self._shares.values()
        more += self._lost + self._being_made
        if not share.is_named:
            unnamed = [one for one in shares if not one.is_named]
            if not _has_room(unnamed, more, MAX_HELD // 2, MAX_HELD_BYTES // 2):
                return False
        return _has_room(shares, more, MAX_HELD, MAX_HELD_BYTES)


def _has_room(shares: Iterable[_Share], more: int, most: int, most_bytes: int) -> bool:
    """Return whether these persons may hold one more answer of this size in bytes."""
    number, total = 0, 0
    for share in shares:
        number += len(share.held)
        total += share.bytes
    return number < most and total + more <= most_bytes
