"""Reads files that root alone can change, by a path that root alone can change.

A check of a path says nothing about the file that a later open(2) finds there. So each part of a path is opened without
following a link, and then checked by its descriptor. The text is read from the descriptor that was checked.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MAX_LINKS = 40
"""As in the kernel: path_resolution(7)."""


class UntrustedError(Exception):
    """Users other than root can change the file, directory or link `path`."""

    def __init__(self, fd: int) -> None:
        self.path = os.readlink(f"/proc/self/fd/{fd}")
        super().__init__(self.path)


def read_text(path: Path) -> str:
    """Read a file of UTF-8.

    Raises:
        UntrustedError: users other than root can change the file, or a part of the path to it.
        OSError: it can't be read, or it is no regular file.
        UnicodeDecodeError: it is no text.
    """
    with io.TextIOWrapper(io.BytesIO(read_bytes(path)), encoding="utf-8") as text:
        return text.read()


def read_bytes(path: Path, max_bytes: int | None = None) -> bytes:
    """Read a file.

    Raises:
        UntrustedError: users other than root can change the file, or a part of the path to it.
        OSError: it can't be read, or it is no regular file, or it is longer than `max_bytes` (EFBIG).
    """
    with _opened(path) as fd:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        # This opens the file that was checked, even if its name belongs to another file by now.
        with open(f"/proc/self/fd/{fd}", "rb") as file:
            data = file.read(-1 if max_bytes is None else max_bytes + 1)
    if max_bytes is not None and len(data) > max_bytes:
        raise OSError(errno.EFBIG, f"it has more than {max_bytes} bytes", str(path))
    return data


def list_names(path: Path) -> list[str]:
    """List the names in a directory, in their order.

    Raises:
        UntrustedError: users other than root can add names, or change a part of the path.
        OSError: it can't be read.
    """
    with _opened(path) as fd:
        # In a sticky directory, others can't replace the files of root. But they can add some.
        if _is_writable_by_others(os.fstat(fd)):
            raise UntrustedError(fd)
        return sorted(os.listdir(f"/proc/self/fd/{fd}"))


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Lend an O_PATH descriptor of a file.

    The kernel follows no link here: each link is checked, read, and opened by its parts as well.
    """
    parts, links = _split(str(path.absolute())), 0
    here = _open_part("/")
    try:
        while parts:
            fd = _open_part(parts.pop(), here)
            if stat.S_ISLNK(os.fstat(fd).st_mode):
                parts += _read_link(fd)
                links += 1
                if links > _MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
            else:
                os.close(here)
                here = fd
                _check(here)
        yield here
    finally:
        os.close(here)


def _open_part(part: str, directory_fd: int | None = None) -> int:
    return os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory_fd)


def _split(path: str) -> list[str]:
    """Return the parts of a path, the last one first. An absolute path has the part "/"."""
    parts = [part for part in path.split("/") if part]
    return [*reversed(parts), "/"] if path.startswith("/") else parts[::-1]


def _read_link(fd: int) -> list[str]:
    """Check a link, return the parts of its target, and close it."""
    try:
        if not _is_own(os.fstat(fd)):
            raise UntrustedError(fd)
        return _split(os.readlink("", dir_fd=fd))
    finally:
        os.close(fd)


def _check(fd: int) -> None:
    """Refuse a file or a directory that others can write.

    A path can lead through a sticky directory, such as /tmp: others can't replace the files of root there.
    """
    status = os.fstat(fd)
    is_sticky_directory = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    if not _is_own(status) or (_is_writable_by_others(status) and not is_sticky_directory):
        raise UntrustedError(fd)


def _is_own(status: os.stat_result) -> bool:
    """Return whether a file belongs to root, or to the user who runs `nsbrokerd check`."""
    return status.st_uid in (0, os.geteuid())


def _is_writable_by_others(status: os.stat_result) -> bool:
    return bool(status.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
