"""The place of a benchmark: namespaces of its own, a broker, and the programs to compare with, until it ends."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from support import namespaces
from support.brokers.process import BrokerProcess
from turns import Skipped
from workers import pin, raise_descriptor_limit

REFERENCE = Path(__file__).parent / "reference"
GOPATH = "/usr/share/gocode"
GO_NETNS = Path(GOPATH, "src/github.com/vishvananda/netns")

GRANTS = f"""
[[grant]]
name = "monitoring"
users = ["root"]
namespaces = ["{namespaces.PREFIX}*", "@host"]
sockets = ["tcp", "icmp", "netlink:route"]

[[grant]]
name = "tenant web servers"
users = ["*"]
namespaces = ["{namespaces.PREFIX}*", "!{namespaces.PREFIX}mgmt"]
sockets = ["tcp", "udp", "sctp"]
bind = ["*:80", "[::]:443"]
"""
"""A policy as the example configuration has it: the second of its grants applies."""

QUOTAS = "[quotas]\nclients = 65536\nclients_per_user = 65536\nrequests_per_second = 10000000\n"
"""All quotas are checked, and no quota is reached."""


@contextmanager
def namespaces_made(count: int, label: str = "") -> Iterator[list[str]]:
    """Make namespaces with their loopback up, and return their names."""
    if reason := namespaces.why_not():
        raise Skipped(reason)
    made: list[str] = []
    try:
        for i in range(count):
            made.append(f"{namespaces.PREFIX}{label}{i}")
            namespaces.make(made[-1])
        yield made
    finally:
        for name in made:
            if namespaces.exists(name):
                namespaces.delete(name)


@contextmanager
def broker_running(cpus: set[int] | None = None, quotas: str = QUOTAS, grants: str = GRANTS) -> Iterator[BrokerProcess]:
    """Run a broker with these grants, all of it pinned to `cpus`."""
    raise_descriptor_limit()
    broker = BrokerProcess(grants, quotas)
    try:
        broker.start()
        if cpus:
            pin(broker.pid, cpus)
        yield broker
    finally:
        broker.close()


@contextmanager
def floor_running(cpus: set[int]) -> Iterator[str]:
    """Run the C broker without checks, pinned to processors, and yield its socket."""
    program = c_program("floor")
    directory = Path(tempfile.mkdtemp(prefix="nsbroker-floor-"))
    directory.chmod(0o755)
    path = directory / "floor.sock"
    process = subprocess.Popen([program, str(path)])
    try:
        pin(process.pid, cpus)
        wait_for_socket(path, process)
        yield str(path)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(directory)


def wait_for_socket(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert process.poll() is None, f"{process.args!r} ended"
        assert time.monotonic() < deadline, f"{process.args!r} does not listen"
        time.sleep(0.01)


@cache
def _build_directory() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="nsbroker-reference-"))
    directory.chmod(0o755)
    # Forked children do not run this: they end by os._exit.
    atexit.register(shutil.rmtree, directory)
    return directory


@cache
def c_program(name: str) -> str:
    """Compile one of the reference programs in C, and return its path.

    Raises:
        Skipped: there is no compiler.
    """
    if shutil.which("gcc") is None:
        raise Skipped("the reference programs in C need gcc")
    program = _build_directory() / name
    subprocess.run(["gcc", "-O2", "-o", program, REFERENCE / f"{name}.c"], check=True)
    return str(program)


@cache
def go_program(name: str) -> str:
    """Compile one of the reference programs in Go, and return its path.

    Raises:
        Skipped: Go is missing, or the package that it uses.
    """
    if shutil.which("go") is None or not GO_NETNS.exists():
        raise Skipped("the reference program in Go needs golang-go and golang-github-vishvananda-netns-dev")
    program = _build_directory() / name
    go = {"GOPATH": GOPATH, "GO111MODULE": "off", "GOCACHE": str(_build_directory() / "go")}
    subprocess.run(["go", "build", "-o", program, REFERENCE / f"{name}.go"], check=True, env={**os.environ, **go})
    return str(program)


def processors() -> list[int]:
    """The processors that this process may use."""
    return sorted(os.sched_getaffinity(0))
