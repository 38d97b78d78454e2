"""A service manager passes the broker's socket, and perhaps the control socket, which the broker tells by its name.

A container runtime passes sockets on without their names. Then the broker tells it by its path.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

# The sockets are at 3 and 4, as sd_listen_fds(3) says, so this needs a process of its own. Far from there first: a
# descriptor that is to be moved can be one of these numbers.
CODE = """
import os, sys
names, control, *fds = sys.argv[1:]
far = [os.dup(int(fd)) for fd in fds]
far = [os.dup2(fd, 100 + at) for at, fd in enumerate(far)]
for at, fd in enumerate(far): os.dup2(fd, 3 + at)
from nsbrokerd.service.listener import ListenError
from nsbrokerd.service.service_manager import take_activated
environment = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(fds))}
if names != "none":
    environment["LISTEN_FDNAMES"] = names
try:
    taken = take_activated(environment, control)
except ListenError as error:
    sys.exit(str(error))
for one in taken:
    print(one and os.path.basename(one.getsockname()), one and one.get_inheritable())
"""


def take(tmp_path: Path, names: str, files: list[str], kind: int = socket.SOCK_SEQPACKET) -> tuple[str, str]:
    """Return standard output and standard error of a process that takes these sockets."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket(socket.AF_UNIX, kind)) for _ in files]
        for listener, file in zip(listeners, files, strict=True):
            listener.bind(str(tmp_path / file))
            listener.listen()
        fds = [listener.fileno() for listener in listeners]
        line = [sys.executable, "-P", "-c", CODE, names, str(tmp_path / "control.sock"), *map(str, fds)]
        done = subprocess.run(line, pass_fds=fds, capture_output=True, text=True, check=False)
        return done.stdout, done.stderr


@pytest.mark.parametrize(
    ("names", "files", "taken"),
    [
        ("nsbrokerd.socket", ["main"], "main False\nNone None\n"),
        ("", ["main"], "main False\nNone None\n"),
        ("nsbrokerd.socket:control", ["main", "other"], "main False\nother False\n"),
        ("control:nsbrokerd.socket", ["other", "main"], "main False\nother False\n"),
        ("none", ["main"], "main False\nNone None\n"),
        ("none", ["main", "control.sock"], "main False\ncontrol.sock False\n"),
        ("none", ["control.sock", "main"], "main False\ncontrol.sock False\n"),
    ],
)
def test_sockets_are_told_apart_by_their_names(tmp_path: Path, names: str, files: list[str], taken: str) -> None:
    assert take(tmp_path, names, files) == (taken, "")


@pytest.mark.parametrize(
    ("names", "files"),
    [
        ("control", ["other"]),
        ("a:b", ["main", "other"]),
        ("a:b", ["main", "control.sock"]),
        ("none", ["main", "other"]),
        ("none", ["control.sock"]),
        ("control:control", ["main", "other"]),
        ("a:control:control", ["main", "other", "third"]),
    ],
)
def test_other_sets_of_sockets_are_refused(tmp_path: Path, names: str, files: list[str]) -> None:
    said = take(tmp_path, names, files)[1]
    assert f"the service manager passed {len(files)} sockets; configure one" in said


def test_stream_is_no_control_socket(tmp_path: Path) -> None:
    assert "passed a wrong socket" in take(tmp_path, "a:control", ["main", "other"], socket.SOCK_STREAM)[1]
