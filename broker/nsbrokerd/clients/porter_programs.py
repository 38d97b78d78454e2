"""Starts the programs that close what this process must not: the porters, and the last resort."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from nsbroker.link import fdpass

MAX_LAST_RESORTS = 16
"""Programs that only have files and end. Each can hang."""

_FORKING = (
    "import sys; sys.path += sys.argv[2:]; from nsbrokerd.clients.porter_process import run; run(int(sys.argv[1]))"
)
_WAITING = "import sys; sys.stdin.buffer.read()"
_END_S = 5


class Mother:
    """The process that porters are forked from."""

    def __init__(self) -> None:
        """Start it.

        Raises:
            OSError: it can't be started.
        """
        self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        roots = sorted({str(Path(fdpass.__file__).parents[2]), str(Path(__file__).parents[2])})
        try:
            with theirs:
                self._process = _start([_FORKING, str(theirs.fileno()), *roots], [theirs.fileno()], subprocess.DEVNULL)
        except OSError:
            self._sock.close()
            raise

    def fork(self) -> socket.socket:
        """Start a porter, and return the connection to it.

        Raises:
            BlockingIOError: too many were started a moment ago.
            OSError: the process has ended, or no descriptor is left.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                fdpass.lend_packet(self._sock, b"f", [theirs.fileno()], socket.MSG_DONTWAIT)
            except OSError:
                ours.close()
                raise
        return ours

    def end(self) -> None:
        """Let it end, and each porter that has carried out its orders."""
        self._sock.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)


class LastResort:
    """A program that has files, and ends. The kernel then closes the files, and only this program can hang."""

    def __init__(self, fds: Sequence[int]) -> None:
        """Start it, and close these descriptors here.

        Raises:
            OSError: it can't be started. The descriptors are still open.
        """
        self._process = _start([_WAITING], fds, subprocess.PIPE)
        for fd in fds:
            os.close(fd)
        if self._process.stdin is not None:
            self._process.stdin.close()  # only now it may end, so that it is the last to have the files

    def has_ended(self) -> bool:
        """Return whether the files are closed."""
        return self._process.poll() is not None


def _start(arguments: Sequence[str], fds: Sequence[int], stdin: int) -> subprocess.Popen[bytes]:
    """Start Python with code, arguments and these descriptors, and without any other one of ours.

    Raises:
        OSError: it can't be started.
    """
    # -I and -S: it reads no variable, and no file but the modules that it imports.
    command = [sys.executable, "-I", "-S", "-c", *arguments]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, pass_fds=fds, stdin=stdin, stdout=quiet, stderr=quiet, cwd="/")  # noqa: S603
