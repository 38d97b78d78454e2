"""A thread under the filter, as /proc shows it: its network namespace, its sockets and its memory.

Its files in /proc are found by the thread's number, which came with the call. So /proc must show the threads of this
process's own pid namespace (`own_network`), or the number means another thread there. If the thread ends meanwhile and
another one gets its number, the kernel drops the answer.
Source: proc(5), ptrace(2) for the rights, net/socket.c for system.sockprotoname, net/unix/af_unix.c for /proc/net/unix.
"""

from __future__ import annotations

import os
import socket

from ..wire.record import Record
from .kernel import take_copy

_NAME_ATTRIBUTE = "system.sockprotoname"
_UNCONNECTED = b"01"
"""SS_UNCONNECTED, as /proc/net/unix shows it."""
_READS = 3
"""Reads of /proc/net/unix. Between two parts of one read, the kernel can lose a socket if others come and go."""
_CAN_SET_OPTIONS = 1 << 12 | 1 << 13
"""CAP_NET_ADMIN and CAP_NET_RAW, each of which allows the privileged options."""


class ForeignProcError(Exception):
    """/proc does not show the processes of this pid namespace."""


class Socket(Record):
    """A socket of a caller.

    Attributes:
        inode: its number, unique in its network namespace.
        protocol: the kernel's name for its protocol, such as "UDP" or "UNIX".
    """

    inode: int
    protocol: str


def own_network() -> int:
    """Return the number that `network_identity` has for this process, if /proc is that of its own pid namespace.

    Raises:
        ForeignProcError: /proc shows the processes of another pid namespace, or there is no /proc.
    """
    try:
        shown = os.readlink("/proc/self")
    except OSError as error:
        raise ForeignProcError from error
    network = network_identity(shown)
    if shown != str(os.getpid()) or network is None:
        raise ForeignProcError
    return network


def network_identity(tid: str) -> int | None:
    """Return a number that all threads of one network namespace share (`None`: it is unknown).

    The files in /proc/TID/net are those of the thread's namespace, and have other inodes in each namespace. Unlike
    /proc/TID/ns/net, every user can read them. So this works where ptrace(2) is refused: for a process that is not
    dumpable, or under a security module.
    """
    try:
        return os.stat(f"/proc/{tid}/net/dev").st_ino
    except OSError:
        return None


def read_socket(tid: int, fd: int) -> Socket | None:
    """Return a descriptor of a thread (`None`: it is not a socket).

    Raises:
        FileNotFoundError: the thread has no such descriptor.
        OSError: this process may not see the thread's descriptors.
    """
    path = f"/proc/{tid}/fd/{fd}"
    # First the link: the attribute of a file in a FUSE file system would wait for its server.
    kind, _, number = os.readlink(path).partition(":")
    if kind != "socket":
        return None
    return Socket(int(number.strip("[]")), os.getxattr(path, _NAME_ATTRIBUTE).rstrip(b"\0").decode())


def read_flags(tid: int, fd: int) -> int:
    """Return the flags of a thread's descriptor: O_CLOEXEC and O_NONBLOCK, among others.

    Raises:
        OSError: as `read_socket`.
    """
    return int(_field(f"/proc/{tid}/fdinfo/{fd}", "flags"), 8)


def is_idle_unix_socket(inode: int) -> bool:
    """Return whether this is a Unix socket of this process's own network namespace that has no name and no peer."""
    number = b"%d" % inode
    for _ in range(_READS):
        with open("/proc/self/net/unix", "rb") as file:
            # Num, RefCount, Protocol, Flags, Type, St, Inode, and Path if it has a name.
            lines = [line for line in file if number in line and line.split()[6:7] == [number]]
        if lines:
            # The name of another user's socket can have newlines, and so imitate a line. Then there are several.
            return all(line.split()[5] == _UNCONNECTED and line.endswith(b" %s\n" % number) for line in lines)
    return False


def may_set_options(tid: int) -> bool:
    """Return whether a thread has a capability that privileged options need, in this process's user namespace.

    A program can gain capabilities in a user namespace of its own. They don't count in the broker's namespaces.
    """
    try:
        if os.stat(f"/proc/{tid}/ns/user").st_ino != os.stat("/proc/self/ns/user").st_ino:
            return False
        return int(_field(f"/proc/{tid}/status", "CapEff"), 16) & _CAN_SET_OPTIONS != 0
    except OSError:
        return (
            False  # It is gone, or this process may not trace it. Only a privileged process may trace a privileged one.
        )


def open_process(tid: int) -> int:
    """Return a pidfd of a thread's process. The caller owns it.

    Raises:
        OSError: the thread is gone.
    """
    return os.pidfd_open(int(_field(f"/proc/{tid}/status", "Tgid")))


def copy_socket(tid: int, fd: int) -> socket.SocketType:
    """Return a copy of a socket of a thread. The caller closes it.

    Raises:
        OSError: it is not a socket, or this process may not trace the thread.
    """
    pidfd = open_process(tid)
    try:
        copy = take_copy(pidfd, fd)
    finally:
        os.close(pidfd)
    try:
        return socket.SocketType(fileno=copy)
    except OSError:
        os.close(copy)
        raise


def read_memory(tid: int, address: int, size: int) -> bytes:
    """Read memory of a thread.

    Raises:
        PermissionError: this process may not trace the thread.
        OSError: EIO: there is no memory at this address.
    """
    fd = os.open(f"/proc/{tid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(fd, size, address)
    finally:
        os.close(fd)


def _field(path: str, name: str) -> str:
    """Return a field of a file with a line for each field."""
    with open(path) as file:
        return next(value.strip() for field, _, value in (line.partition(":") for line in file) if field == name)
