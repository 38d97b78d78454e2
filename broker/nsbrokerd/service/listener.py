"""The Unix sockets of a broker that no service manager started. It never takes the socket of another broker."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat

_BACKLOG = 4096
_PROBE_TIMEOUT_S = 5.0


class ListenError(Exception):
    """The broker can't listen on its socket. The message names the remedy."""


class OwnListener:
    """A socket that this broker makes and removes."""

    def __init__(self, path: str, gid: int | None) -> None:
        """Listen on `path`, for root and the group `gid`, or for root alone if that is None.

        A broker locks a file beside the socket, so that two brokers that start at once can't both take the socket.

        Raises:
            ListenError: another broker serves the socket, or another file is in its place.
        """
        self._path = path
        self._lock_fd = _lock(path)
        try:
            _remove_stale(path)
            self.sock = _listen(path, gid)
        except (OSError, ListenError) as error:
            os.close(self._lock_fd)
            if isinstance(error, ListenError):
                raise
            raise ListenError(f"can't listen on {path}: {error.strerror}") from error
        self._identity = _identify(path)

    def close(self) -> None:
        """Remove the socket if it is still this broker's, and release the lock."""
        # PermissionError: the directory may be another user's, and CAP_DAC_OVERRIDE is dropped.
        with contextlib.suppress(FileNotFoundError, PermissionError):
            if _identify(self._path) == self._identity:
                os.unlink(self._path)
        self.sock.close()
        os.close(self._lock_fd)


def _identify(path: str) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino


def _lock(path: str) -> int:
    try:
        fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ListenError(f"can't lock {path}.lock: {error.strerror}; does its directory exist?") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise ListenError(f"another broker serves {path}: stop it, or use another path") from error
    return fd


def _remove_stale(path: str) -> None:
    """Remove a socket that no process listens on any more.

    Raises:
        ListenError: a process listens on it, or it is no socket.
    """
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise ListenError(f"{path} is no socket: remove it, or use another path")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        probe.settimeout(_PROBE_TIMEOUT_S)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EPROTOTYPE):
                raise
    raise ListenError(f"another program listens on {path}: stop it, or use another path")


def _listen(path: str, gid: int | None) -> socket.socket:
    mode = 0o600 if gid is None else 0o660
    own_gid = os.getegid()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # No client can connect before listen(2). But one that came before the group and the mode are right would get
    # EACCES, and ask no more. So the socket is made with them.
    umask = os.umask(0o777 & ~mode)
    try:
        if gid is not None:
            with contextlib.suppress(PermissionError):
                os.setegid(gid)
        listener.bind(path)
        if gid is not None:  # the directory can give files its own group
            os.chown(path, -1, gid, follow_symlinks=False)
        os.chmod(path, mode)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    finally:
        os.setegid(own_gid)
        os.umask(umask)
    return listener
