"""Installs the seal in the kernel, and seals sockets."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TypeVar

from ..namespaces.netns import Gate
from ..policy import Policy
from . import bpf
from .cgroup import SealedGroup
from .maps import SealMaps, make_maps, open_or_make_maps, take_directory
from .programs import PROGRAMS, Program
from .thread import SealedThread
from .writing import Entries, NewSocket, load_limits

T = TypeVar("T")

_SOCK_RAW, _ICMP = int(socket.SOCK_RAW), int(socket.IPPROTO_ICMP)
_SOL_IP, _IP_OPTIONS = 0, 4

_libc = ctypes.PyDLL(None, use_errno=True)


class SealError(Exception):
    """This host can't enforce limits. The message has the cause."""


class UnsealedError(Exception):
    """A socket that must be sealed is not. This breaks an invariant of the broker."""


class Seal:
    """The seal of a running broker. Use it in the main thread only."""

    def __init__(self, maps: SealMaps, thread: SealedThread, parts: ExitStack) -> None:
        """Use the maps and the thread. Take ownership of `parts`, which closes them and everything that they need."""
        self._maps = maps
        self._entries = Entries(maps.sockets)
        self._thread = thread
        self._parts = parts

    def load_limits(self, policy: Policy) -> None:
        """Replace the limits of all grants at once, also for sockets that were handed out before.

        A socket whose grant has lost its limit can go anywhere. A socket whose grant is gone is cut off.

        Raises:
            SealError: the kernel refuses them. The former limits stay.
        """
        try:
            load_limits(self._maps, policy)
        except OSError as error:
            raise SealError(f"can't load the limits, so the former ones stay: {error.strerror or error}") from error

    def call(self, function: Callable[[Gate], T]) -> T:
        """Call a short function in the thread whose sockets are sealed, with the gate of that thread."""
        return self._thread.call(lambda: function(self._thread.gate))

    def put_on(self, socks: Sequence[NewSocket], uid: int) -> None:
        """Write the entries of sockets that one `call` has made. Without its entry, a socket is cut off.

        Raises:
            UnsealedError: they were not made in the sealed group.
            OSError: the kernel has no memory for an entry.
        """
        self._entries.put(socks, time.time_ns(), uid)
        for sock, *_ in socks:
            _disable_loop(sock)
        # The last socket proves all: if the thread was moved to another group, it was moved before this socket.
        _prove_sealed(sock)

    def close(self) -> None:
        """End the thread. All sockets keep their limits."""
        # A control group that is still in use stays.
        with contextlib.suppress(OSError):
            self._parts.close()


def _prove_sealed(sock: socket.SocketType) -> None:
    """Prove that the programs run for a socket: only they refuse this option with EPERM."""
    # By ctypes: the call fails each time, and an exception would take longer than the call.
    if _libc.setsockopt(sock.fileno(), _SOL_IP, _IP_OPTIONS, None, 0) == 0 or ctypes.get_errno() != errno.EPERM:
        raise UnsealedError(
            "a socket was made outside the sealed control group, so its limits would not hold: "
            "do not move the broker's threads to other control groups"
        )


def _disable_loop(sock: socket.SocketType) -> None:
    """Turn off copies of multicasts for the sender's host, if only the packet program checks this socket."""
    if sock.family == socket.AF_INET and (sock.type == _SOCK_RAW or sock.proto == _ICMP):
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)


def install(directory: Path) -> Seal:
    """Load the programs, and start the thread whose sockets they check. Take over the maps of a former broker.

    Args:
        directory: for the pins, on a BPF file system. Each broker of a host needs its own.

    Raises:
        SealError: this host can't enforce limits.
    """
    try:
        with ExitStack() as parts:
            parts.callback(os.close, take_directory(directory))
            maps = parts.enter_context(closing(open_or_make_maps(directory)))
            thread = _start_thread(parts, maps, directory.name)
            return Seal(maps, thread, parts.pop_all())
    except OSError as error:
        raise SealError(str(error.strerror or error)) from error


def is_installed(directory: Path) -> bool:
    """Return whether a broker has left limits in a directory."""
    return (directory / "sockets").exists()


def why_unavailable() -> str | None:
    """Return why this host can't enforce limits, or None if it can. It tries everything, and cleans up."""
    try:
        with ExitStack() as parts:
            maps = parts.enter_context(closing(make_maps()))
            thread = _start_thread(parts, maps, f"nsbrokerd-try-{os.getpid()}")
            with thread.call(socket.socket) as sock:
                _prove_sealed(sock)
    except OSError as error:
        return str(error.strerror or error)
    except UnsealedError:
        return "the kernel does not run the programs of a socket's control group"
    return None


def _start_thread(parts: ExitStack, maps: SealMaps, name: str) -> SealedThread:
    """Load the programs, attach their stubs to a new control group, and start a thread in it. `parts` undoes this."""
    group = SealedGroup(name)
    parts.callback(group.remove)
    for program in PROGRAMS:
        slot = maps.programs[program.name]
        with _load(program, program.assemble(maps.sockets, maps.limits)) as program_fd:
            bpf.fill_slot(slot, program_fd)
    with bpf.closing(os.open(group.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as group_fd:
        for program in PROGRAMS:
            with _load(program, program.assemble_stub(maps.programs[program.name])) as stub_fd:
                bpf.attach(group_fd, stub_fd, program.attach_type)
    thread = SealedThread()
    parts.callback(thread.stop)
    group.take_in(thread.thread_id)
    return thread


def _load(program: Program, code: bytes) -> contextlib.AbstractContextManager[int]:
    return bpf.closing(bpf.load_program(f"nsb_{program.name}", program.type, program.attach_type, code))
