"""The sockets that the proxy listens on, in its own network namespace, and whom it lets in there."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import socket
import stat
from contextlib import contextmanager, suppress

from ..wire.record import Record
from .peers import SockDiag, is_unambiguous, user_of_unix_peer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_BACKLOG = 1024
_OWN_MODE, _ANY_MODE = 0o600, 0o666
_LOCK = ".nsbroker-lock"
"""The end of the name of a lock. It is removed afterwards, so it must be the name of no other program's file."""
_LOOPBACK_IPV4, _LOOPBACK_IPV6 = b"\x7f", bytes(15) + b"\1"
_OWN_CONNECTION_S = 5.0
"""A firewall can drop even the packets to a loopback address."""
_OTHERWISE = "listen on the path of a Unix socket, or let every user in by --any-user"


class ListenError(Exception):
    """The proxy can't listen there. The message names the remedy."""


class Listener(Record):
    """A listening socket.

    Attributes:
        sock: the socket, which does not block.
        name: its address, as programs write it.
        identity: device and inode of the file of a Unix socket.
    """

    sock: socket.socket
    name: str
    identity: tuple[int, int] | None = None

    def close(self) -> None:
        """Remove the file of a Unix socket, if it is still the same one, and close the socket, once.

        While it listens, no other proxy takes its path, and the kernel gives its inode to no other file.
        """
        if self.sock.fileno() < 0:
            return
        with suppress(OSError):
            if self.identity is not None and _identify(self.name) == self.identity:
                os.unlink(self.name)
        self.sock.close()


class Door:
    """Says which connections may come in.

    Args:
        any_user: whether every user may use the proxy.

    Raises:
        ListenError: the users can't be told apart.
    """

    def __init__(self, *, any_user: bool) -> None:
        self.any_user = any_user
        self._own_uid = os.geteuid()
        self._diag: SockDiag | None = None
        if not any_user and not is_unambiguous(self._own_uid):
            raise ListenError(f"here, uid {self._own_uid} stands for several users; let all of them in by --any-user")

    def listen(self, family: int, address: str | tuple[str, int]) -> Listener:
        """Listen on an address, or on the path of a Unix socket.

        Raises:
            ListenError: the address is taken or not here, or others could not be kept out.
        """
        if isinstance(address, str):
            return _listen_on_path(address, _ANY_MODE if self.any_user else _OWN_MODE)
        if self.any_user:
            return _listen_on_address(family, address)
        if not _is_loopback(family, address[0]):
            raise ListenError(
                f"{_written(address)} is no loopback address, so others could use the proxy: "
                "use 127.0.0.1 or [::1], or let every user in by --any-user"
            )
        listener = _listen_on_address(family, address)
        try:
            self._expect_look_up(family)
        except ListenError:
            listener.close()
            raise
        return listener

    def close(self) -> None:
        """Close the socket that looks up users."""
        if self._diag is not None:
            self._diag.close()

    def refuses(self, connection: socket.socket) -> str | None:
        """Return the reason to refuse a connection, None if it may come in, or "" if it ended without a word."""
        if self.any_user:
            return None
        try:
            uid = self._user_of(connection)
        except OSError as error:
            return f"refused a connection whose user can't be looked up: {error.strerror}"
        if uid is None:
            return (
                ""
                if _has_ended(connection)
                else "refused a connection whose user can't be found: it comes through another program or network"
            )
        if uid != self._own_uid:
            return f"refused a connection of uid {uid}: only uid {self._own_uid} may use this proxy (see --any-user)"
        return None

    def _user_of(self, connection: socket.socket) -> int | None:
        if connection.family == socket.AF_UNIX:
            return user_of_unix_peer(connection)
        try:
            return self._diag.owner_of_peer(connection) if self._diag else None
        except OSError as error:
            if error.errno == errno.ENOTCONN:
                return None  # The peer is gone.
            raise

    def _expect_look_up(self, family: int) -> None:
        """Try to look up the user of a connection of our own."""
        host = "127.0.0.1" if family == socket.AF_INET else "::1"
        try:
            self._diag = self._diag or SockDiag()
            with (
                socket.create_server((host, 0), family=family) as listener,
                socket.create_connection(listener.getsockname()[:2], _OWN_CONNECTION_S),
                listener.accept()[0] as connection,
            ):
                found = self._diag.owner_of_peer(connection)
        except OSError as error:
            raise ListenError(
                f"can't look up the users of connections: {error.strerror or error}; {_OTHERWISE}"
            ) from error
        if found != self._own_uid:
            raise ListenError(f"can't look up the users of connections: the kernel finds none; {_OTHERWISE}")


def _has_ended(connection: socket.socket) -> bool:
    try:
        return not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _is_loopback(family: int, host: str) -> bool:
    """Return whether an address is in 127.0.0.0/8, or is ::1. An IPv4 address in IPv6 is neither."""
    try:
        address = socket.inet_pton(family, host)
    except OSError:
        return False  # Such as 127.1, which only some functions understand.
    return address.startswith(_LOOPBACK_IPV4) if family == socket.AF_INET else address == _LOOPBACK_IPV6


def _listen_on_address(family: int, address: tuple[str, int]) -> Listener:
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise ListenError(f"can't listen on {_written(address)}: {error.strerror}") from error
    return Listener(sock, _written(sock.getsockname()))


def _written(address: tuple[str, int]) -> str:
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"


def _listen_on_path(path: str, mode: int) -> Listener:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        # Before bind(2), which gives the file this mode: so there is no moment at which others could connect.
        os.fchmod(sock.fileno(), mode)
        with _alone(path):
            umask = os.umask(0)
            try:
                _bind(sock, path)
            finally:
                os.umask(umask)
            identity = _identify(path)
            sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise ListenError(f"can't listen on {path}: {error.strerror or error}") from error
    except ListenError:
        sock.close()
        raise
    return Listener(sock, path, identity)


@contextmanager
def _alone(path: str) -> Iterator[None]:
    """Keep other proxies from starting on a path, by a lock on a file beside it.

    Otherwise two that start at once could both find a socket that was left behind, and the second one would remove the
    socket of the first, or one that is bound, but does not listen yet.
    """
    name = path + _LOCK
    fd = _lock(name)
    try:
        yield
    finally:
        # Before the lock is released: a proxy that opened the file meanwhile finds that it is gone, and tries again.
        with suppress(OSError):
            os.unlink(name)
        os.close(fd)


def _lock(name: str) -> int:
    """Lock a file, and return its descriptor, which the caller closes.

    Raises:
        ListenError: another proxy has the lock.
        OSError: the file can't be made.
    """
    while True:
        try:
            fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, _OWN_MODE)
        except PermissionError as error:
            if os.path.lexists(name):
                raise ListenError(
                    f"can't open {name}, which another user has left: remove it, or use another path"
                ) from error
            raise
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            status = os.fstat(fd)
            if _identify(name) == (status.st_dev, status.st_ino):
                return fd
        except BlockingIOError:
            os.close(fd)
            raise ListenError(
                f"another program starts to listen on {name.removesuffix(_LOCK)}: stop it, or use another path"
            ) from None
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # The proxy that had the lock has removed the file.


def _bind(sock: socket.socket, path: str) -> None:
    try:
        sock.bind(path)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        _remove_stale(path)
        sock.bind(path)


def _remove_stale(path: str) -> None:
    """Remove a socket that no process listens on any more. A proxy that ends may have removed it already.

    Raises:
        ListenError: a process listens on it, or it is no socket.
    """
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise ListenError(f"{path} is no socket: remove it, or use another path")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                os.unlink(path)
                return
            except BlockingIOError:
                pass  # Its backlog is full.
        raise ListenError(f"another program listens on {path}: stop it, or use another path")


def _identify(path: str) -> tuple[int, int]:
    status = os.lstat(path)
    return status.st_dev, status.st_ino


def raise_file_limit() -> None:
    """Allow as many descriptors as the system does, since each connection takes two."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
