"""The program of the porters: processes that receive clients' descriptors, and drop connections with unread ones.

close(2) calls flush, and on a client's own FUSE file system the client decides when to answer. No signal ends this
wait, and a process with a waiting thread can't end. So it is never the broker that receives a descriptor that can be
such a file. Each person has a porter, which hands on only network namespaces, and hangs alone.

The broker starts one process, from which all porters are forked: it has no thread, no capability and no descriptor of
the broker. It imports little, so a porter is there in a millisecond. A porter has threads only to close several files
at the same time.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
from collections.abc import Sequence

from nsbroker.link import fdpass

from ..namespaces.file_identity import identify
from .parallel_close import ParallelClose

TAKE, DROP, CLOSE = b"t", b"d", b"c"
"""Orders: take one packet off a connection (the second byte is the number of descriptors that it may have), drop
connections so that the other end can still read its replies, and close files."""

NAMESPACES, FOREIGN, MORE, LOST = b"n", b"f", b"m", b"l"
"""Answers to TAKE: all descriptors are network namespaces, some are not, more came, the connection is lost."""

DONE = b"."
"""The answer to each order, once all of its files are closed. NAMESPACES is the last answer, since these close fast."""

MAX_FILES = 253
"""Files in one packet. Source: SCM_MAX_FD in include/net/scm.h."""

ORDER_BYTES = 2

_IMPATIENT_AFTER_S = 0.02
"""How long SO_LINGER may hold up a close. After that, a signal interrupts it, and each second one."""

# Source: include/uapi/linux/nsfs.h, prctl.h, capability.h.
_NS_GET_NSTYPE = 0xB703
_CLONE_NEWNET = 0x40000000
_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15
_PR_SET_NO_NEW_PRIVS = 38
_VERSION_3 = 0x20080522


def run(fd: int) -> None:
    """Fork a porter for each packet that comes on this socket. The packet brings the porter's end of its connection.

    This ends with the broker, whose end of the socket is then closed.
    """
    _give_up_power()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel forgets porters that end
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)  # for the broker, which may need porters until it ends
    orders = socket.socket(fileno=fd)
    home = os.stat("/proc/self/ns/net")
    while True:
        packet, ends = fdpass.take_packet(orders, ORDER_BYTES, 1)
        if not packet:
            return
        if os.fork() == 0:
            orders.close()
            _carry(socket.socket(fileno=ends[0]), home.st_dev)
            os._exit(0)
        os.close(ends[0])


def _give_up_power() -> None:
    """Drop all capabilities for good, and let no other process look into this one."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NAME, b"nsbroker-porter", 0, 0, 0)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    no_power = libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    header, sets = (ctypes.c_uint32 * 2)(_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    if not no_power or libc.capset(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "can't drop capabilities")


def _carry(broker: socket.socket, nsfs: int) -> None:
    """Do what the broker orders, until it closes its end."""
    signal.signal(signal.SIGALRM, lambda _number, _frame: None)
    parallel = ParallelClose()
    while True:
        try:
            order, fds = fdpass.take_packet(broker, ORDER_BYTES, MAX_FILES)
        except (fdpass.TruncatedError, OSError):
            order, fds = CLOSE, []  # some files could not be received, so they are closed
        if not order:
            return
        if order[:1] == TAKE and fds:
            taken, is_proven = _take(broker, fds[0], order[1], nsfs)
            fds += taken
            if is_proven:
                for fd in fds:
                    os.close(fd)
                continue
        close = _drop if order == DROP else _close
        if len(fds) > 1:
            parallel.close(fds, close, _IMPATIENT_AFTER_S)
        else:
            signal.setitimer(signal.ITIMER_REAL, _IMPATIENT_AFTER_S, _IMPATIENT_AFTER_S)
            for fd in fds:
                close(fd)
            signal.setitimer(signal.ITIMER_REAL, 0)
        _answer(broker, DONE)


def _take(broker: socket.socket, connection: int, most: int, nsfs: int) -> tuple[list[int], bool]:
    """Take a packet, and answer the broker.

    Returns:
        The packet's descriptors, which must be closed, and whether the broker has got them.
    """
    fds: list[int] = []
    sock = socket.SocketType(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, connection)
    try:
        fds, more_came = fdpass.copy_fds(sock, most)
        if not more_came:
            fdpass.discard_packet(sock)
    except OSError:
        _answer(broker, LOST)
        return fds, False
    finally:
        sock.detach()
    if more_came:
        _answer(broker, MORE)
    elif not all(is_network_namespace(fd, nsfs) for fd in fds):
        _answer(broker, FOREIGN)
    elif _answer(broker, NAMESPACES, fds):
        return fds, True
    else:
        _answer(broker, LOST)  # the kernel bounds the descriptors that root has in flight
    return fds, False


def is_network_namespace(fd: int, nsfs: int) -> bool:
    """Return whether a descriptor is an open network namespace. `nsfs` is the number of their file system."""
    try:
        if identify(fd)[0] != nsfs:
            return False  # for example a pidfd, which setns(2) would take too
        return fcntl.ioctl(fd, _NS_GET_NSTYPE) == _CLONE_NEWNET
    except OSError:
        return False  # some files have not even an inode number, for example a sysctl whose interface is gone


def _close(fd: int) -> None:
    with contextlib.suppress(OSError):  # an error of flush concerns only the client
        os.close(fd)


def _drop(fd: int) -> None:
    with contextlib.suppress(OSError):
        fdpass.drop_connection(fd)


def _answer(broker: socket.socket, answer: bytes, fds: Sequence[int] = ()) -> bool:
    """Return whether the answer was sent. The broker may have ended, and its orders are still carried out."""
    try:
        fdpass.lend_packet(broker, answer, list(fds))
    except OSError:
        return False
    return True
