"""Installs the seal in the kernel: loads the first wall, and starts the thread whose sockets it checks."""

from __future__ import annotations

import contextlib
import os
import socket
from contextlib import ExitStack, closing
from pathlib import Path

from . import bpf
from .cgroup import SealedGroup, is_stopped_by_its_group
from .maps import SealMaps, make_maps, open_or_make_maps, take_directory
from .programs import PROGRAMS, Program
from .running import Seal, SealError, UnsealedError, prove_sealed
from .thread import SealedThread, SealedVisits


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
            return Seal(directory, maps, thread, parts.pop_all())
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
                prove_sealed(sock)
    except OSError as error:
        return str(error.strerror or error)
    except UnsealedError:
        return "the kernel does not run the programs of a socket's control group"
    return None


def _start_thread(parts: ExitStack, maps: SealMaps, name: str) -> SealedThread | SealedVisits:
    """Load the programs, attach their stubs to a new control group, and start a thread in it. `parts` undoes this."""
    is_threaded = not is_stopped_by_its_group()
    group = SealedGroup(name, is_threaded=is_threaded)
    parts.callback(group.remove)
    for program in PROGRAMS:
        slot = maps.programs[program.name]
        with _load(program, program.assemble(maps.sockets, maps.limits)) as program_fd:
            bpf.fill_slot(slot, program_fd)
    with bpf.closing(os.open(group.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as group_fd:
        for program in PROGRAMS:
            with _load(program, program.assemble_stub(maps.programs[program.name])) as stub_fd:
                bpf.attach(group_fd, stub_fd, program.attach_type)
    if not is_threaded:
        visits = SealedVisits(group)
        parts.callback(visits.stop)
        return visits
    thread = SealedThread()
    parts.callback(thread.stop)
    group.take_in(thread.thread_id)
    return thread


def _load(program: Program, code: bytes) -> contextlib.AbstractContextManager[int]:
    return bpf.closing(bpf.load_program(f"nsb_{program.name}", program.type, program.attach_type, code))
