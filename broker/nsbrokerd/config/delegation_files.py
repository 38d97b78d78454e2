"""Reads the files that delegate ids, /etc/subuid and /etc/subgid, and reads them again when they change.

newuidmap(1) reads the same files. If one of them can't be read or trusted, the last good ones stay in force. Without
any, all uids that are no user's own count as one person. So a bad file never gives a person more of the broker.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import structlog

from ..clients.subordinate_ids import EVERYBODY, Delegations, Ids, TooManyRangesError, parse_ids
from .trusted_files import UntrustedError, read_bytes

MAX_FILE_BYTES = 2**21
"""All clients wait while the broker reads. This much takes less than 50 ms."""

RECHECK_S = 1.0
"""The least time between two looks at the files."""

_FILES = ("passwd", "group", "subuid", "subgid")

log = structlog.get_logger()

Look = tuple[tuple[int, ...] | str, ...]
"""For each file the numbers that change with it, or the reason why there are none."""


class DelegationFiles:
    """The delegations of this host, as they were at the last look."""

    def __init__(self, etc: Path = Path("/etc")) -> None:
        """Read the files for the first time."""
        self._paths = [etc / name for name in _FILES]
        self._looked_at = 0.0
        self._seen: Look = self._look()
        self._ids = self._read() or self._read_users_alone()
        self._delegations = Delegations(self._ids)

    def refresh(self, now: float) -> bool:
        """Read the files again if they have changed since the last look, a second ago or more.

        Args:
            now: the time, on the clock of time.monotonic().

        Returns:
            Whether other delegations hold now.
        """
        if now - self._looked_at < RECHECK_S:
            return False
        self._looked_at = now
        seen = self._look()
        if seen == self._seen:
            return False
        self._seen = seen
        ids = self._read()
        if ids is None or ids == self._ids:  # chsh(1) changes passwd, too, and every user may call it
            return False
        self._ids, self._delegations = ids, Delegations(ids)
        return True

    def person_of(self, uid: int) -> int:
        """Return the uid that stands for the person of this uid."""
        return self._delegations.person_of(uid)

    def persons_named(self, uids: Iterable[int], gids: Iterable[int]) -> frozenset[int]:
        """Return the persons that have one of these uids, or that one of these gids is delegated to."""
        return self._delegations.persons_named(uids, gids)

    def _look(self) -> Look:
        return tuple(map(_look_at, self._paths))

    def _read(self) -> Ids | None:
        """Read all files, or log the reason why they can't be used."""
        ids = _read_ids(self._paths)
        if isinstance(ids, str):
            log.error("can't read which ids are delegated; the last good files stay in force", reason=ids)
            return None
        return ids

    def _read_users_alone(self) -> Ids:
        try:
            passwd = _read(self._paths[0])
        except (OSError, UntrustedError):
            passwd = ""
        log.error("without the delegated ids, all uids outside of /etc/passwd count as one person")
        return parse_ids(passwd, subuid=EVERYBODY)


def why_unusable(etc: Path = Path("/etc")) -> str | None:
    """Return why a broker could not use the files as they are now, or None if it could."""
    ids = _read_ids([etc / name for name in _FILES])
    return ids if isinstance(ids, str) else None


def _read_ids(paths: Sequence[Path]) -> Ids | str:
    """Read all files, or return the reason why they can't be used."""
    texts = []
    for path in paths:
        try:
            texts.append(_read(path))
        except UntrustedError as error:
            return f"users other than root can write {error.path}; run chown root and chmod go-w"
        except OSError as error:
            return f"{path} can't be read: {error.strerror or error}"
    try:
        return parse_ids(*texts)
    except TooManyRangesError as error:
        return str(error)


def _read(path: Path) -> str:
    """Read a file that may be missing. Names need not be UTF-8.

    Raises:
        UntrustedError: users other than root can change it.
        OSError: it can't be read, or it is too long.
    """
    try:
        return read_bytes(path, MAX_FILE_BYTES).decode(errors="surrogateescape")
    except FileNotFoundError:
        return ""


def _look_at(path: Path) -> tuple[int, ...] | str:
    try:
        status = os.stat(path)
    except OSError as error:
        return str(error)
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
