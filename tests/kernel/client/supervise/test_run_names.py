"""`nsbroker-get NS run`: names are those of the namespace, by its files in /etc/netns, or it says that they are not."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from nsbroker.supervise.bpf import assemble, end_with, if_equal, load
from nsbroker.supervise.filter import ALLOW, ERRNO, NR_OFFSET
from support.brokers.process import BrokerProcess
from support.names import dnsmasq
from support.names.etc_netns import make_files, remove_files
from support.own_run import own_run
from support.seccomp import install
from support.tool.running import RunTool, program, python, run_tool
from support.users import GROUP, USER

_SYS_UNSHARE = {"x86_64": 272, "aarch64": 97}


@pytest.fixture
def name(make_namespace: Callable[..., str]) -> str:
    return make_namespace("names")


@pytest.fixture
def run(broker: BrokerProcess) -> Iterator[RunTool]:
    with run_tool(broker) as tool:
        yield tool


@pytest.fixture
def files(name: str) -> Iterator[Path]:
    """The directory of files for the namespace."""
    yield make_files(name)
    remove_files(name)


@contextmanager
def service(path: str) -> Iterator[socket.socket]:
    """A service that listens there, for the processes of the test alone."""
    with own_run(), socket.socket(socket.AF_UNIX) as sock:
        Path(path).parent.mkdir(parents=True)
        sock.bind(path)
        os.chmod(path, 0o777)
        sock.listen()
        yield sock


def peers_of(listener: socket.socket) -> set[int]:
    """The processes that have connected: any program of this machine may ask such a service."""
    listener.setblocking(False)
    found = set()
    with suppress(BlockingIOError):
        while True:
            with listener.accept()[0] as connection:
                credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
                found.add(struct.unpack("iII", credentials)[0])
    return found


def test_files_of_the_namespace_are_in_place_and_the_user_is_the_same(run: RunTool, name: str, files: Path) -> None:
    """Other processes do not see them."""
    (files / "hosts").write_text("192.0.2.33 only-there.example\n")
    (files / "resolv.conf").write_text("nameserver 192.0.2.53\n")
    done = run(name, "run", "--", "sh", "-c", "getent hosts only-there.example; cat /etc/resolv.conf; id -u; id -g")
    assert done == (0, f"192.0.2.33      only-there.example\nnameserver 192.0.2.53\n{USER}\n{GROUP}\n", "")
    assert "only-there" not in Path("/etc/hosts").read_text()
    assert run.start(name, "run", "--", "cat", "/etc/resolv.conf", uid=0).finish() == (0, "nameserver 192.0.2.53\n", "")


def test_names_are_asked_of_the_namespaces_own_name_server(run: RunTool, name: str, files: Path) -> None:
    """Both the C library and programs with resolvers of their own find a name that only this server knows."""
    if reason := dnsmasq.why_not():
        pytest.skip(reason)
    dnsmasq.add_network(name)
    (files / "resolv.conf").write_text(f"nameserver {dnsmasq.ADDRESS}\n")
    server = dnsmasq.Dnsmasq(name, ["--local=/#/", "--host-record=only.test,10.0.0.9"])
    try:
        assert run(name, "run", "--", "getent", "ahostsv4", "only.test").out.startswith("10.0.0.9 ")
        assert run(name, "run", "--", program("dig"), "only.test", "A", "+short") == (0, "10.0.0.9\n", "")
    finally:
        server.stop()


def test_sockets_are_served_in_the_user_namespace_too(run: RunTool, name: str, files: Path) -> None:
    """And a process there that moves to another network namespace is left alone."""
    (files / "hosts").touch()
    code = (
        "import ctypes, os, socket\n"
        "cookie = lambda: socket.socket().getsockopt(1, 71, 8)\n"
        "own = os.readlink('/proc/self/ns/user'); first = cookie()\n"
        "print(own != os.sys.argv[1], cookie() == first)\n"
        "assert ctypes.CDLL(None).unshare(0x50000000) == 0\n"
        "print(cookie() == first)\n"
    )
    done = run(name, "run", "--", python(), "-c", code, os.readlink("/proc/self/ns/user"))
    assert done == (0, "True True\nFalse\n", "")


def test_without_files_or_services_there_is_no_user_namespace(run: RunTool, name: str) -> None:
    with own_run():
        done = run(name, "run", "--", "readlink", "/proc/self/ns/user")
    assert done == (0, f"{os.readlink('/proc/self/ns/user')}\n", "")


CONNECT = """
import socket, sys
try: socket.socket(socket.AF_UNIX).connect(sys.argv[1]); print("connected")
except OSError as error: print(error.errno)
"""


def test_services_that_would_look_up_names_outside_are_hidden(run: RunTool, name: str) -> None:
    """Also one that is started anew meanwhile, with another socket at the same path."""
    path = "/run/nscd/socket"
    code = CONNECT + "sys.stdin.readline()\n" + CONNECT
    with service(path) as sock:
        reader, writer = os.pipe()
        running = run.start(name, "run", "--", python(), "-u", "-c", code, path, stdin=reader)
        os.close(reader)
        running.read_until("\n")
        os.unlink(path)
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(path)
            os.chmod(path, 0o777)
            other.listen()
            os.close(writer)
            assert running.finish() == (0, f"{errno.ENOENT}\n" * 2, "")
        assert running.pid not in peers_of(sock)


def test_resolvers_files_stay_where_its_socket_is_hidden(run: RunTool, name: str, files: Path) -> None:
    """For /etc/resolv.conf is a link to one of them, as a rule."""
    directory = "/run/systemd/resolve"
    with service(f"{directory}/io.systemd.Resolve"):
        Path(directory, "resolv.conf").write_text("nameserver 192.0.2.1\n")
        done = run(name, "run", "--", "sh", "-c", f"ls {directory}; cat {directory}/resolv.conf")
        assert done == (0, "resolv.conf\nnameserver 192.0.2.1\n", "")


def forbid_unshare() -> None:
    unshare = _SYS_UNSHARE[os.uname().machine]
    install(assemble([load(NR_OFFSET), if_equal(unshare, "no"), end_with(ALLOW), "no", end_with(ERRNO | errno.EPERM)]))


def test_where_user_namespaces_are_forbidden_one_line_says_that_names_leak(
    run: RunTool, name: str, files: Path
) -> None:
    """And the program runs, with the system's files."""
    (files / "resolv.conf").write_text("nameserver 192.0.2.53\n")
    done = run.start(name, "run", "--", "cat", "/etc/resolv.conf", before=forbid_unshare).finish()
    assert (done.status, done.out) == (0, Path("/etc/resolv.conf").read_text())
    assert done.err.count("\n") == 1
    assert done.err.startswith(f"nsbroker-get: names may be looked up outside of {name}, since ")
    assert "/etc/resolv.conf" in done.err
    assert "user namespaces: this system forbids them to users, see the sysctls " in done.err


def test_file_that_has_no_place_is_named(run: RunTool, name: str, files: Path) -> None:
    (files / "no-such-file-in-etc").touch()
    done = run(name, "run", "--", "true")
    assert (done.status, done.out) == (0, "")
    assert done.err == (
        f"nsbroker-get: {files}/no-such-file-in-etc is not used: can't put it over /etc/no-such-file-in-etc: "
        "No such file or directory\n"
    )
