"""Where the code under test lives: a namespace of its own, in which every packet is a leak, and is counted.

It has a name server that knows every name, at addresses where something that is sent to them is counted as well: a
leak does not fail for want of a network, it succeeds, and is seen.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from support import namespaces
from support.checkout import TESTS
from support.inside import call_inside, enter, path_of
from support.namespaces import ip
from support.users import GROUP, USER, Child, as_unprivileged, start_as_user

ADDRESS = "10.97.0.1"
"""The answer of the name server outside for every name, and its own address."""

LEAK_PORT = 4711
"""Here something listens outside, by TCP and UDP on every address. Among the servers of example.org, nothing does."""

_CLONE_NEWNS = 0x00020000
_PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


class LeakError(AssertionError):
    """Something was sent in the program's own namespace."""


class Outside:
    """The namespace. `start` runs a function in it as an unprivileged user.

    Args:
        name: the namespace's name.
        directory: a place for files that every user can read.
    """

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self._resolv_conf = directory / "resolv.conf"
        self._resolv_conf.write_text(f"nameserver {ADDRESS}\noptions timeout:1 attempts:1\n")
        self._passwd = directory / "passwd"
        # Programs such as ssh only run as a user that has a name.
        user = f"tester:x:{USER}:{GROUP}::/nonexistent:/bin/false\n"
        self._passwd.write_text(Path("/etc/passwd").read_text() + user)
        namespaces.make(name)
        call_inside(name, _switch_ipv6_off)  # It would send by itself.
        ip("-n", name, "link", "add", "leak0", "type", "veth", "peer", "name", "leak1")
        for interface in ("leak0", "leak1"):
            ip("-n", name, "link", "set", interface, "up", "arp", "off")
        ip("-n", name, "address", "add", "10.97.0.2/24", "dev", "leak0")
        ip("-n", name, "route", "add", "default", "dev", "leak0")
        ip("-n", name, "address", "add", f"{ADDRESS}/32", "dev", "lo")

    def start(self, environment: dict[str, str], function: Callable[..., Any], *args: Any) -> Child:
        """Start a function. Packets that were sent here make its result a LeakError, whatever else happened."""
        return start_as_user(0, 0, self._call, environment, function, args)

    def _call(self, environment: dict[str, str], function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        enter(path_of(self.name))
        _unshare_mounts()
        _bind(self._resolv_conf, Path("/etc/resolv.conf").resolve())
        _bind(self._passwd, Path("/etc/passwd"))
        let_everyone_read([*sys.path, sys.prefix, sys.base_prefix, str(TESTS)])
        os.chdir("/")
        os.environ.update(environment)
        before = _packets()
        try:
            return as_unprivileged(_die_with_parent_and_call, function, args)
        finally:
            if leaked := _packets() - before:
                raise LeakError(f"{leaked} packets in the program's own namespace")


def listen() -> None:
    """Accept every connection and take every datagram on LEAK_PORT. A leak arrives, and is seen as packets."""
    with socket.create_server(("", LEAK_PORT)) as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        udp.bind(("", LEAK_PORT))
        accepted = []
        while True:
            for ready in select.select([tcp, udp], [], [])[0]:
                accepted.append(ready.accept() if ready is tcp else ready.recv(1))


def _die_with_parent_and_call(function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    # A test that gives up kills only its own child.
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    return function(*args)


def _switch_ipv6_off() -> None:
    for interface in ("all", "default"):
        Path(f"/proc/sys/net/ipv6/conf/{interface}/disable_ipv6").write_text("1")


def _packets() -> int:
    """How many packets all interfaces of this namespace sent. Source: proc_pid_net(5)."""
    lines = Path("/proc/thread-self/net/dev").read_text().splitlines()[2:]
    return sum(int(line.partition(":")[2].split()[9]) for line in lines)


def _unshare_mounts() -> None:
    if _libc.unshare(_CLONE_NEWNS) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    _mount("--make-rprivate", "/")


def _bind(source: Path, target: Path) -> None:
    _mount("--bind", str(source), str(target))


def _mount(*args: str) -> None:
    subprocess.run(["mount", *args], check=True)


def let_everyone_read(places: Iterable[str]) -> None:
    """Let every user reach these directories, in this mount namespace. Python can be in root's home directory.

    A directory that holds only the way to the places replaces the closed one.
    """
    paths = {Path(place).resolve() for place in places if place and os.path.isdir(place)}
    outermost = {path for path in paths if not paths.intersection(path.parents)}
    for closed in {directory for path in outermost if (directory := _first_closed(path))}:
        handles = {path: os.open(path, os.O_PATH) for path in outermost if path.is_relative_to(closed)}
        _mount("-t", "tmpfs", "-o", "mode=755", "none", str(closed))
        for path, handle in handles.items():
            path.mkdir(parents=True)
            # Not by its name, which is that of the new directory now.
            source = f"/proc/self/fd/{handle}"
            subprocess.run(["mount", "--no-canonicalize", "--bind", source, path], pass_fds=[handle], check=True)
            os.close(handle)


def _first_closed(path: Path) -> Path | None:
    return next((parent for parent in reversed(path.parents) if not parent.stat().st_mode & 0o001), None)
