"""The files of a host, or of an image in a directory: whole or not at all, and never through a link of the image."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .report import StepError

_NEW = ".nsbroker-new"
"""The end of the name of a file that is still being written. A run that was killed leaves it, and the next one
replaces it."""


class Tree:
    """A root directory. All paths are absolute, as a program of that host sees them."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root

    @property
    def is_this_host(self) -> bool:
        """Whether it is the host that runs this program."""
        return self.root == Path("/")

    def read(self, path: Path) -> str | None:
        """Return the text of a file, or None without a file. Bytes that are no UTF-8 become surrogates.

        Raises:
            StepError: there is something else than a file.
            OSError: it can't be read.
        """
        with contextlib.suppress(FileNotFoundError), self._directory(path) as directory_fd:
            status = os.stat(path.name, dir_fd=directory_fd, follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode):
                raise StepError("there is something else than a file: move it away, then run this command again")
            fd = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory_fd)
            with open(fd, encoding="utf-8", errors="surrogateescape", newline="") as file:
                return file.read()
        return None

    def target(self, path: Path) -> str | None:
        """Return the target of a link, "" for anything else, or None for a path that does not exist."""
        try:
            with self._directory(path) as directory_fd:
                return os.readlink(path.name, dir_fd=directory_fd)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.EINVAL:
                return ""
            raise

    def exists(self, path: Path) -> bool:
        """Return whether there is anything."""
        return self.target(path) is not None

    def write(self, path: Path, text: str, mode: int = 0o644) -> None:
        """Put a file in place, or leave the one that is there."""
        with self._directory(path, make=True) as directory_fd, _new(path, directory_fd) as name:
            fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory_fd)
            with open(fd, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
                file.write(text)
                file.flush()
                os.fchmod(fd, mode)
                os.fsync(fd)
            os.rename(name, path.name, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
            os.fsync(directory_fd)

    def link(self, path: Path, target: str) -> None:
        """Put a symbolic link in place, or leave the one that is there."""
        with self._directory(path, make=True) as directory_fd, _new(path, directory_fd) as name:
            os.symlink(target, name, dir_fd=directory_fd)
            os.rename(name, path.name, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)

    def remove(self, path: Path) -> None:
        """Remove a file or link."""
        with self._directory(path) as directory_fd:
            os.unlink(path.name, dir_fd=directory_fd)
            os.fsync(directory_fd)

    def remove_new(self, path: Path) -> None:
        """Remove the unfinished copy of a file that a killed run has left."""
        with contextlib.suppress(FileNotFoundError), self._directory(path) as directory_fd:
            os.unlink(f".{path.name}{_NEW}", dir_fd=directory_fd)

    def make_directory(self, path: Path, mode: int) -> bool:
        """Make a directory with this mode, unless there is one. Return whether it was made.

        Raises:
            StepError: there is something else.
        """
        with self._directory(path, make=True) as directory_fd:
            try:
                os.mkdir(path.name, mode, dir_fd=directory_fd)
            except FileExistsError:
                if not stat.S_ISDIR(os.stat(path.name, dir_fd=directory_fd, follow_symlinks=False).st_mode):
                    raise StepError(
                        "there is something else than a directory: move it away, then run this command again"
                    ) from None
                return False
            os.chmod(path.name, mode, dir_fd=directory_fd)
        return True

    def remove_if_empty(self, path: Path) -> bool:
        """Remove an empty directory. Return whether it was removed."""
        try:
            with self._directory(path) as directory_fd:
                os.rmdir(path.name, dir_fd=directory_fd)
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY, errno.ENOTDIR):
                return False
            raise
        return True

    def remove_with_contents(self, path: Path) -> bool:
        """Remove a directory and everything in it, links themselves and not their targets."""
        try:
            with self._directory(path) as directory_fd:
                shutil.rmtree(path.name, dir_fd=directory_fd)
        except FileNotFoundError:
            return False
        return True

    @contextmanager
    def _directory(self, path: Path, *, make: bool = False) -> Iterator[int]:
        """Lend a descriptor of the directory of a path. In an image, no part of the path may be a link.

        A link of an image means another place for its own programs than for those of this host.
        """
        follow = 0 if self.is_this_host else os.O_NOFOLLOW
        fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in path.parts[1:-1]:
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, 0o755, dir_fd=fd)
                below = _open_directory(part, fd, follow)
                os.close(fd)
                fd = below
            yield fd
        finally:
            os.close(fd)


def _open_directory(part: str, fd: int, follow: int) -> int:
    try:
        return os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | follow, dir_fd=fd)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
        raise StepError(f"{part!r} of its path is no directory, or a link: correct this, then run it again") from error


@contextmanager
def _new(path: Path, directory_fd: int) -> Iterator[str]:
    """Lend the name of a file that is being written. If it is still there at the end, it is removed."""
    name = f".{path.name}{_NEW}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory_fd)
    try:
        yield name
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=directory_fd)
        raise
