"""Puts the seal into the kernel, and onto sockets."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from ..namespaces.netns import Gate
from ..policy import Policy
from . import bpf
from .cgroup import SealedGroup
from .entries import Entries, Named
from .loading import load_limits, put_in
from .local_copies import ICMP, IP_MULTICAST_LOOP, IPPROTO_IP, SOCK_RAW
from .maps import SealMaps, make_maps, open_or_make_maps, take_directory
from .programs import PROGRAMS
from .worker import Worker

T = TypeVar("T")

_SOL_IP, _IP_OPTIONS = 0, 4

_libc = ctypes.PyDLL(None, use_errno=True)


class SealError(Exception):
    """Limits can't be enforced here, and why."""


class UnsealedError(Exception):
    """A socket that should be sealed is not: our own invariant is broken."""


class Seal:
    """The seal of a running broker. For its main thread alone."""

    def __init__(self, lock_fd: int, maps: SealMaps, worker: Worker, group: SealedGroup) -> None:
        self._lock_fd = lock_fd
        self._maps = maps
        self._entries = Entries(maps.sockets)
        self._worker = worker
        self._group = group

    def load_limits(self, policy: Policy) -> None:
        """Have the limits of this policy hold from now on, all at once, for sockets that were handed out as well.

        A grant that has no limits any more lets everything pass; one that is no more, nothing.

        Raises:
            SealError: the kernel does not take them; those of before hold.
        """
        try:
            load_limits(self._maps, policy)
        except OSError as error:
            raise SealError(f"the limits can't be loaded: {error.strerror or error}") from error

    def call(self, function: Callable[[Gate], T]) -> T:
        """Call a function in the thread whose sockets are sealed, with the thread's own gate. It shall be short."""
        return self._worker.call(lambda: function(self._worker.gate))

    def put_on(self, socks: Sequence[Named], uid: int) -> None:
        """Name the grants of sockets that were made by one `call`. Until then they can do nothing at all.

        Raises:
            UnsealedError: they were not made in the sealed group.
            OSError: the kernel can't keep it.
        """
        self._entries.put(socks, time.time_ns(), uid)
        for sock, *_ in socks:
            _loop_back_nothing(sock)
        # If the thread was moved to another group, then before the last of them was made.
        _prove(socks[-1][0])

    def close(self) -> None:
        """End the thread; the limits of all sockets stay."""
        self._worker.stop()
        self._maps.close()
        with contextlib.suppress(OSError):
            self._group.remove()
        os.close(self._lock_fd)


def _prove(sock: socket.SocketType) -> None:
    """Prove that the programs run for a socket, by an option that nobody else refuses."""
    # By ctypes, since this fails each time, and an exception takes longer than the call.
    if _libc.setsockopt(sock.fileno(), _SOL_IP, _IP_OPTIONS, None, 0) == 0 or ctypes.get_errno() != errno.EPERM:
        raise UnsealedError("a socket was not made in the sealed control group: was the broker's thread moved?")


def _loop_back_nothing(sock: socket.SocketType) -> None:
    """Turn the loop of multicasts off, where packets alone are decided about."""
    if sock.family == socket.AF_INET and (sock.type == SOCK_RAW or sock.proto == ICMP):
        sock.setsockopt(IPPROTO_IP, IP_MULTICAST_LOOP, 0)


def install(directory: Path) -> Seal:
    """Load the programs, and make a thread whose sockets are held to them. What a former broker left is taken over.

    Args:
        directory: for the pins, on a BPF file system. Each broker of a host has its own.

    Raises:
        SealError: this host can't.
    """
    try:
        with ExitStack() as stack:
            lock_fd = take_directory(directory)
            stack.callback(os.close, lock_fd)
            maps = open_or_make_maps(directory)
            stack.callback(maps.close)
            _load_programs(maps)
            group = SealedGroup(directory.name)
            stack.callback(group.remove)
            worker = _start_worker(maps, group)
            stack.pop_all()
    except OSError as error:
        raise SealError(str(error.strerror or error)) from error
    return Seal(lock_fd, maps, worker, group)


def is_installed(directory: Path) -> bool:
    """Tell whether a broker has left limits there."""
    return (directory / "sockets").exists()


def _load_programs(maps: SealMaps) -> None:
    for program in PROGRAMS:
        code = program.assemble(maps.of_programs)
        program_fd = bpf.load_program(f"nsb_{program.name}", program.type, program.attach_type, code)
        try:
            put_in(maps.programs[program.name], program_fd)
        finally:
            os.close(program_fd)


def _start_worker(maps: SealMaps, group: SealedGroup) -> Worker:
    _attach_programs(maps, group.path)
    worker = Worker()
    try:
        group.take_in(worker.thread_id)
    except BaseException:
        worker.stop()
        raise
    return worker


def _attach_programs(maps: SealMaps, group: Path) -> None:
    group_fd = os.open(group, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for program in PROGRAMS:
            code = program.assemble_stub(maps.programs[program.name])
            stub_fd = bpf.load_program(f"nsb_{program.name}", program.type, program.attach_type, code)
            try:
                bpf.attach(group_fd, stub_fd, program.attach_type)
            finally:
                os.close(stub_fd)
    finally:
        os.close(group_fd)


def why_unavailable() -> str | None:
    """Say why this host can't enforce limits; None if it can. It tries everything, and leaves nothing behind."""
    try:
        with ExitStack() as stack:
            maps = make_maps()
            stack.callback(maps.close)
            _load_programs(maps)
            group = SealedGroup(f"nsbrokerd-try-{os.getpid()}")
            stack.callback(group.remove)
            worker = _start_worker(maps, group)
            stack.callback(worker.stop)
            sock = worker.call(socket.socket)
            stack.callback(sock.close)
            _prove(sock)
    except OSError as error:
        return str(error.strerror or error)
    except UnsealedError:
        return "the kernel does not run the programs of the control group in which a socket was made"
    return None
