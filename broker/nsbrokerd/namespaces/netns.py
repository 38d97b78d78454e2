"""Opens network namespaces by name, and enters them for the length of one function. The one file with setns(2).

Entering is synchronous, short, and fails closed: a thread whose way back fails never runs another line. A pooled thread
must not enter: its next job could run in the wrong namespace.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import stat
from collections.abc import Callable
from functools import lru_cache
from sys import byteorder
from typing import NewType, TypeVar

from nsbroker.wire import EnteredNamespace

T = TypeVar("T")

NamespaceName = NewType("NamespaceName", str)
"""A name that can be an entry of NETNS_DIRECTORY."""

NETNS_DIRECTORY = "/run/netns"
HOST = "@host"
DESCRIPTORS_USED_UP = (errno.EMFILE, errno.ENFILE)
EXIT_STATUS = 71
"""EX_OSERR of sysexits.h: the way back to the broker's own namespace failed."""

_MAX_ENTERED = 4096
"""Namespaces that a gate remembers. Each takes about 300 bytes."""

# With flags 0, setns(2) fails under systemd's RestrictNamespaces=net, and takes other types of namespaces.
_CLONE_NEWNET = 0x40000000

# Source: include/uapi/linux/nsfs.h and sockios.h. NS_GET_ID exists since Linux 6.18.
_NS_GET_ID = 0x8008B70D
_SIOCGSKNS = 0x894C
_SOL_SOCKET = 1
_SO_NETNS_COOKIE = 71
_COOKIE_BYTES = 8
_ROOM_FOR_COOKIE = bytes(_COOKIE_BYTES)

_libc = ctypes.PyDLL(None, use_errno=True)


class NamespaceNotFoundError(Exception):
    """There is no such network namespace now. `position` is the place of the first socket that needs it, if known."""

    position: int | None = None


class WrongNamespaceError(Exception):
    """A socket is not in the namespace that was entered: our own invariant is broken."""


@lru_cache(1024)
def check_name(name: str) -> NamespaceName:
    """Check that a name can be an entry of NETNS_DIRECTORY.

    Raises:
        NamespaceNotFoundError: the name can't be one, so there is no such namespace.
    """
    if name in ("", ".", "..") or name[0] == "@" or "/" in name or "\0" in name or len(name.encode()) > 255:
        raise NamespaceNotFoundError("no namespace can have this name: use the name of an entry of /run/netns")
    return NamespaceName(name)


def open_namespace(name: NamespaceName) -> int:
    """Open a namespace by name, as it is now. The caller owns the returned descriptor.

    Raises:
        NamespaceNotFoundError: there is no such entry, or it can't be opened yet.
        OSError: no descriptor is left (EMFILE, ENFILE).

    Source: setns(2). ip-netns(8) pins entries: it first creates the file, with mode 0, and then mounts the namespace.
    """
    try:
        return os.open(_path(name), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in DESCRIPTORS_USED_UP:
            raise
        raise NamespaceNotFoundError(f"there is no network namespace {name!r}") from error


def close_namespaces(fds: list[int]) -> None:
    """Close descriptors of namespaces, which never blocks, and empty the list."""
    while fds:
        os.close(fds.pop())


def _setns(fd: int) -> None:
    if _libc.setns(fd, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _enter(namespace_fd: int) -> None:
    try:
        _setns(namespace_fd)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise NamespaceNotFoundError("this is no network namespace (yet)") from error
        raise


class Gate:
    """The way into other namespaces and back, for the thread that creates the gate."""

    def __init__(self) -> None:
        """Remember the thread's own namespace.

        Raises:
            OSError: /proc is not mounted.
        """
        # /proc/self would be the main thread.
        self.home_fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        # A namespace keeps its device and inode, and its cookie is never used again. So this is never out of date.
        self._entered: dict[bytes, EnteredNamespace] = {}
        self._verify = self._verify_by_id if namespace_id(self.home_fd) is not None else _verify_by_descriptor

    def call_inside(self, namespace_fd: int, make: Callable[[], T]) -> T:
        """Call `make` in the namespace, and come back. It must not await.

        If the way back fails, the process ends.

        Raises:
            NamespaceNotFoundError: the descriptor is no network namespace, so `make` was not called.
            OSError: setns(2) failed, or an error of `make`.
        """
        if namespace_fd == self.home_fd:
            return make()
        # One `try` around both, and the way back without a function of ours: an interrupt may come after each call.
        try:
            _enter(namespace_fd)
            return make()
        finally:
            try:
                _setns(self.home_fd)
            except BaseException:
                os._exit(EXIT_STATUS)

    def verify(self, namespace_fd: int, sock: socket.SocketType) -> EnteredNamespace:
        """Prove that a socket is in the namespace of the descriptor, and identify that namespace.

        Raises:
            WrongNamespaceError: the socket is in another namespace.
        """
        cookie = sock.getsockopt(_SOL_SOCKET, _SO_NETNS_COOKIE, _COOKIE_BYTES)
        self._verify(namespace_fd, sock, cookie)
        entered = self._entered.get(cookie)
        if entered is None:
            status = os.fstat(namespace_fd)
            if len(self._entered) >= _MAX_ENTERED:
                self._entered.clear()
            entered = EnteredNamespace(int.from_bytes(cookie, byteorder), status.st_dev, status.st_ino)
            self._entered[cookie] = entered
        return entered

    def _verify_by_id(self, namespace_fd: int, _sock: socket.SocketType, cookie: bytes) -> None:
        if namespace_id(namespace_fd) != cookie:
            raise WrongNamespaceError(f"a socket has the namespace cookie {cookie.hex()}, not the one that was entered")


def namespace_cookie(sock: socket.SocketType) -> int:
    """Return SO_NETNS_COOKIE of a socket. No two namespaces ever have the same cookie."""
    return int.from_bytes(sock.getsockopt(_SOL_SOCKET, _SO_NETNS_COOKIE, _COOKIE_BYTES), byteorder)


def _verify_by_descriptor(namespace_fd: int, sock: socket.SocketType, _cookie: bytes) -> None:
    """Compare by SIOCGSKNS, for kernels without NS_GET_ID. Takes about 9 us."""
    found_fd = fcntl.ioctl(sock.fileno(), _SIOCGSKNS)
    try:
        if not os.path.samestat(os.fstat(found_fd), os.fstat(namespace_fd)):
            raise WrongNamespaceError("a socket is in another namespace than the one that was entered")
    finally:
        os.close(found_fd)


def namespace_id(namespace_fd: int) -> bytes | None:
    """Return the cookie of a namespace as bytes, or None if the kernel lacks NS_GET_ID."""
    try:
        return fcntl.ioctl(namespace_fd, _NS_GET_ID, _ROOM_FOR_COOKIE)
    except OSError:
        return None


def _path(name: str) -> bytes:
    # As bytes: names are UTF-8 here in every locale.
    return f"{NETNS_DIRECTORY}/{name}".encode()


def list_names(directory: str = NETNS_DIRECTORY) -> list[str]:
    """List the entries of a directory that may not exist yet. Entries that are no UTF-8 are left out."""
    try:
        entries = os.listdir(directory.encode())
    except FileNotFoundError:
        return []
    decoded = [entry.decode(errors="ignore") for entry in entries]
    return [name for name, entry in zip(decoded, entries, strict=True) if name.encode() == entry]


def identity(name: str) -> tuple[int, int] | None:
    """Return device and inode of a named entry. They identify its namespace while it exists."""
    try:
        status = os.stat(_path(name))
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None
