"""`nsbroker-get NS run`: interfaces have the names and numbers of the namespace, whichever way a program asks.

The caller's own namespace has an interface of the same name, with another number.
"""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from nsbroker.supervise.calls import IN_USE, NO_TUN, NOT_GRANTED, SEE_LIST, UNSEEN
from nsbroker.supervise.filter import TUNSETIFF
from support import namespaces
from support.brokers.process import BrokerProcess
from support.checkout import TESTS
from support.inside import call_inside
from support.names.etc_netns import make_files, remove_files
from support.names.fake_dns import UDP, Server
from support.sockets_inside import open_inside
from support.tool.running import Done, Running, program, python, run_tool
from support.users import GROUP, USER
from support.waiting import wait_until

SOURCES = TESTS / "support" / "programs"
NUMBER, PEERS_NUMBER, OUTSIDE = 4001, 4002, 4003
"""The numbers of the interfaces."""


@pytest.fixture
def name(make_namespace: Callable[..., str]) -> str:
    """A namespace with an interface `va`. Its peer `vb` is in a second namespace. Both have link-local addresses."""
    name, peer = make_namespace("ifs"), make_namespace("peer")
    namespaces.ip(
        "-n", name, "link", "add", "va", "index", str(NUMBER), "type", "veth",
        "peer", "name", "vb", "index", str(PEERS_NUMBER), "netns", peer,
    )  # fmt: skip
    for namespace, device, last in ((name, "va", "a"), (peer, "vb", "b")):
        # Otherwise the device has a second link-local address, from which the kernel might send.
        namespaces.ip("-n", namespace, "link", "set", device, "addrgenmode", "none")
        namespaces.ip("-n", namespace, "addr", "add", f"fe80::{last}/64", "dev", device, "nodad")
        namespaces.ip("-n", namespace, "addr", "add", f"192.0.2.{10 + int(last, 16)}/24", "dev", device)
        namespaces.ip("-n", namespace, "link", "set", device, "up")
    wait_until(lambda: all("state UP" in namespaces.ip("-n", one, "link") for one in (name, peer)))
    return name


@pytest.fixture
def peer(name: str) -> str:
    return name.replace("ifs", "peer")


@pytest.fixture
def outside(make_namespace: Callable[..., str]) -> str:
    """The caller's own namespace. It has another interface `va`, and one that only exists there."""
    outside = make_namespace("own")
    namespaces.ip("-n", outside, "link", "add", "va", "index", str(OUTSIDE), "type", "veth", "peer", "name", "only")
    return outside


class Run:
    """Starts programs under `run`, from the caller's own namespace."""

    def __init__(self, start: Callable[..., Running], name: str, outside: str) -> None:
        self._start = start
        self._name = name
        self._outside = outside

    def start(self, *command: str) -> Running:
        return self._start(self._name, "run", "--", *command, network=self._outside)

    def __call__(self, *command: str) -> Done:
        return self.start(*command).finish()


EVERY_KIND = f"""
[[grant]]
name = "every kind"
users = [{USER}]
namespaces = ["{namespaces.PREFIX}*"]
sockets = ["tcp", "udp", "packet", "raw:icmpv6", "netlink:route", "netlink:generic", "netlink:netfilter"]
"""


@pytest.fixture
def run(start_broker: Callable[..., BrokerProcess], name: str, outside: str) -> Iterator[Run]:
    with run_tool(start_broker(EVERY_KIND)) as tool:
        yield Run(tool.start, name, outside)


ASK = """
import socket, sys
for argument in sys.argv[1:]:
    try: print(socket.if_indextoname(int(argument)) if argument.isdigit() else socket.if_nametoindex(argument))
    except OSError as error: print(error.errno)
print(dict(socket.if_nameindex()))
"""


def test_names_and_numbers_are_those_of_the_namespace(run: Run, name: str) -> None:
    """An interface of the caller's own namespace does not exist."""
    done = run(python(), "-c", ASK, "va", str(NUMBER), "only", str(OUTSIDE))
    inside = dict(call_inside(name, socket.if_nameindex))
    unknown = errno.ENODEV if sys.version_info >= (3, 14) else None
    assert done == (0, f"{NUMBER}\nva\n{unknown}\n{errno.ENXIO}\n{inside}\n", "")


def test_static_program_keeps_its_descriptors_flags(run: Run, open_directory: Path) -> None:
    """A socket of each kind answers for the namespace. Close-on-exec and O_NONBLOCK are as before."""
    binary = open_directory / "interfaces"
    source = SOURCES / "interfaces.c"
    built = subprocess.run(
        [program("gcc"), "-static", "-O1", "-o", str(binary), str(source)], capture_output=True, text=True, check=False
    )
    if built.returncode != 0:
        pytest.skip(f"no static program can be built here: {built.stderr.splitlines()[-1]}")
    done = run(str(binary), "va")
    lines = (f"unix {NUMBER} 0 0", f"unix-cloexec {NUMBER} 1 0", f"unix-nonblock {NUMBER} 0 1", f"inet {NUMBER} 0 0")
    assert done == (0, "\n".join((*lines, f"libc {NUMBER}", "")), "")


@contextmanager
def served(sock: socket.socket, answer: Callable[[socket.socket], None]) -> Iterator[None]:
    """A server in a thread, which answers every question."""
    stopped = threading.Event()

    def serve() -> None:
        while not stopped.is_set():
            with suppress(TimeoutError):
                answer(sock)

    with sock:
        sock.settimeout(0.05)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()


def test_ping_to_a_link_local_address_by_an_interfaces_name(run: Run, peer: str) -> None:
    done = run(program("ping"), "-c", "1", "fe80::b%va")
    assert done.status == 0, done
    assert "1 received" in done.out


def test_curl_to_a_link_local_address_by_an_interfaces_name(run: Run, peer: str) -> None:
    def answer(listener: socket.socket) -> None:
        with listener.accept()[0] as connection:
            connection.settimeout(60)
            connection.recv(65536)
            connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nfrom the peer\n")

    with served(open_inside(peer, socket.SOCK_STREAM, 80, socket.AF_INET6), answer):
        assert run(program("curl"), "-sS", "-g", "http://[fe80::b%25va]/") == (0, "from the peer\n", "")


def test_name_server_at_a_link_local_address_by_an_interfaces_name(run: Run, name: str, peer: str) -> None:
    server = Server({"only.test": "A 192.0.2.9"})

    def answer(sock: socket.socket) -> None:
        packet, address = sock.recvfrom(512)
        sock.sendto(server.answer(packet, UDP) or b"", address)

    (make_files(name) / "resolv.conf").write_text("nameserver fe80::b%va\n")
    try:
        with served(open_inside(peer, socket.SOCK_DGRAM, 53, socket.AF_INET6), answer):
            done = run("getent", "ahostsv4", "only.test")
    finally:
        remove_files(name)
    assert done.out.startswith("192.0.2.9 "), done


def test_tcpdump_names_the_interfaces(run: Run, name: str, peer: str) -> None:
    """For each packet that it prints. -D lists them."""
    tcpdump = program("tcpdump")
    listed = run(tcpdump, "-D").out
    assert ".va [Up, Running" in listed
    assert "only" not in listed
    running = run.start(tcpdump, "-i", "any", "-c", "1", "-nn", "-l", "udp port 9")
    running.read_error_until("listening on any")
    with open_inside(peer, socket.SOCK_DGRAM, 0, socket.AF_INET6) as sock:
        sock.sendto(b"to be seen", ("fe80::a", 9, 0, PEERS_NUMBER))
    assert " va    In  IP6 fe80::b." in running.finish().out


IOCTL = """
import errno, fcntl, os, socket, struct, sys
def ask(sock, name=b"va"):
    try: return struct.unpack_from("16si", fcntl.ioctl(sock, 0x8933, struct.pack("16s24x", name)))[1]
    except OSError as error: return errno.errorcode[error.errno]
"""


def test_unix_socket_in_use_is_not_asked(run: Run, open_directory: Path) -> None:
    """It stays as it is, connected or bound. A name may end with a blank."""
    code = IOCTL + (
        "pair = socket.socketpair()\n"
        "bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); bound.bind('')\n"
        "blank = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); blank.bind(sys.argv[1])\n"
        "connected = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); connected.connect(bound.getsockname())\n"
        "print(*map(ask, (pair[0], bound, blank, connected)))\n"
        "connected.send(b'still'); print(bound.recv(9)); pair[0].send(b'works'); print(pair[1].recv(9))\n"
    )
    os.chown(open_directory, USER, GROUP)
    done = run(python(), "-c", code, f"{open_directory}/ ")
    assert done == (0, "EPERM EPERM EPERM EPERM\nb'still'\nb'works'\n", f"nsbroker-get: {IN_USE}\n")


def test_socket_of_another_local_family_is_not_asked(run: Run) -> None:
    code = IOCTL + "print(ask(socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)))"
    done = run(python(), "-c", code)
    if "EAFNOSUPPORT" in done.err or "not supported" in done.err:
        pytest.skip("this kernel has no AF_VSOCK")
    assert done.out == "EPERM\n"


def test_descriptors_without_a_socket_fail_as_ever(run: Run) -> None:
    code = IOCTL + "print(ask(0), ask(os.open('/', 0)), ask(999))"
    assert run(python(), "-c", code) == (0, "ENOTTY ENOTTY EBADF\n", "")


@pytest.mark.parametrize("kind", ["udp", "tcp", "icmp", "raw:icmp", "netlink:route", "packet"])
def test_any_of_these_kinds_is_enough(
    start_broker: Callable[..., BrokerProcess], name: str, outside: str, kind: str
) -> None:
    call_inside(name, Path("/proc/sys/net/ipv4/ping_group_range").write_text, "0 0")
    grant = f'[[grant]]\nname = "one"\nusers = [{USER}]\nnamespaces = ["{name}"]\nsockets = ["{kind}"]\n'
    with run_tool(start_broker(grant)) as tool:
        code = IOCTL + "print([ask(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) for _ in range(2)])"
        done = Run(tool.start, name, outside)(python(), "-c", code)
    assert done == (0, f"{[NUMBER] * 2}\n", "")


def test_without_any_of_them_it_is_refused(start_broker: Callable[..., BrokerProcess], name: str, outside: str) -> None:
    grant = f'[[grant]]\nname = "one"\nusers = [{USER}]\nnamespaces = ["{name}"]\nsockets = ["udplite"]\n'
    with run_tool(start_broker(grant)) as tool:
        code = IOCTL + "print([ask(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) for _ in range(2)])"
        done = Run(tool.start, name, outside)(python(), "-c", code)
    assert done.out == "['EPERM', 'EPERM']\n"
    assert done.err.startswith(f"nsbroker-get: {NOT_GRANTED}: grant 'one' allows no ")
    assert done.err.endswith(SEE_LIST + "\n")
    assert done.err.count("\n") == 1


def test_process_that_can_not_be_traced_is_refused(run: Run) -> None:
    """Only root can see the descriptors of a process that is not dumpable, so nothing says which socket it asks."""
    code = IOCTL + (
        "import ctypes; ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)\n"
        "print(ask(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)))"
    )
    done = run(python(), "-c", code)
    assert done == (0, "EPERM\n", f"nsbroker-get: {UNSEEN}\n")


def test_tun_devices_are_refused(run: Run) -> None:
    """They would be in the caller's own namespace."""
    code = f"import fcntl\ntry: fcntl.ioctl(0, {TUNSETIFF}, bytes(40))\nexcept OSError as error: print(error.errno)"
    assert run(python(), "-c", code) == (0, f"{errno.EPERM}\n", f"nsbroker-get: {NO_TUN}\n")


def test_program_that_moved_asks_its_own_sockets(run: Run) -> None:
    code = IOCTL + (
        "import ctypes\n"
        "if ctypes.CDLL(None).unshare(0x10000000 | 0x40000000): print('forbidden'); sys.exit()\n"
        "sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
        "print(ask(sock, b'lo'), ask(sock), sock.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN))\n"
    )
    done = run(python(), "-c", code)
    if done.out == "forbidden\n":
        pytest.skip("user namespaces are not allowed here")
    assert done == (0, f"1 ENODEV {int(socket.AF_UNIX)}\n", "")
