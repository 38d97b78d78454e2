"""`nsbroker-get NS connect HOST PORT`: the server that it reaches, its source, the names, and its messages."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator

import pytest

from nsbroker.link.fdpass import take_packet
from support import namespaces
from support.brokers.process import BrokerProcess
from support.inside import cookie_inside, netns_cookie
from support.names import dnsmasq
from support.names.dnsmasq import ADDRESS, ADDRESS6, SILENT, Dnsmasq, OwnFiles
from support.namespaces import ip
from support.sockets_inside import open_inside
from support.tool.piped import Piped, piped_tool
from support.tool.running import RunTool, run_tool
from support.waiting import LIMIT_S

PORT = 80
SILENT6 = "2001:db8::9"
RECORDS = [
    "--local=/#/",
    f"--host-record=both.test,{ADDRESS},{ADDRESS6}",
    f"--host-record=no-v6.test,{ADDRESS},{SILENT6}",
    f"--host-record=no-v4.test,{SILENT},{ADDRESS6}",
    f"--host-record=nowhere.test,{SILENT}",
]


@pytest.fixture(scope="module")
def name() -> Iterator[str]:
    """A namespace with names of its own, in which some addresses swallow all packets."""
    if reason := namespaces.why_not() or dnsmasq.why_not():
        pytest.skip(reason)
    name = f"{namespaces.PREFIX}connect"
    namespaces.make(name)
    with contextlib.ExitStack() as stack:
        stack.callback(namespaces.delete, name)
        dnsmasq.add_network(name)
        ip("-n", name, "address", "add", "2001:db8::1/64", "dev", "net0", "nodad")
        ip("-n", name, "neighbour", "add", SILENT6, "lladdr", "02:00:00:00:00:09", "dev", "net0")
        files = OwnFiles(name)
        stack.callback(files.close)
        files.write(f"nameserver {ADDRESS}\n", "")
        server = Dnsmasq(name, RECORDS)
        stack.callback(server.stop)
        yield name


@pytest.fixture
def run(shared_broker: BrokerProcess, name: str) -> Iterator[RunTool]:
    with run_tool(shared_broker) as run:
        yield run


@pytest.fixture
def connect(run: RunTool, name: str) -> Iterator[Callable[..., Piped]]:
    with piped_tool(run) as start:
        yield lambda *args, **how: start(name, "connect", *args, **how)


@pytest.fixture
def server(name: str) -> Iterator[socket.socket]:
    """A TCP server at all addresses of both families."""
    with open_inside(name, socket.SOCK_STREAM, PORT, socket.AF_INET6) as server:
        server.settimeout(LIMIT_S)
        yield server


def reached(process: Piped, server: socket.socket) -> str:
    """Return the address that reached the server. Both sides use the connection and end it."""
    peer, _ = server.accept()
    with peer:
        address = peer.getsockname()[0].removeprefix("::ffff:")
        peer.sendall(b"hello")
    assert process.read() == b"hello"
    process.close_input()
    assert (process.wait(), process.said()) == (0, "")
    return str(address)


@pytest.mark.parametrize(
    ("args", "address"),
    [
        ([ADDRESS, "80"], ADDRESS),
        ([ADDRESS6, "http"], ADDRESS6),
        ([f"[{ADDRESS6}]", "80"], ADDRESS6),
        (["both.test", "80"], ADDRESS6),
        (["both.test", "http"], ADDRESS6),
        (["-4", "both.test", "80"], ADDRESS),
        (["-4", "localhost", "80"], "127.0.0.1"),
        (["localhost", "80"], "::1"),
        (["127.1", "80"], "127.0.0.1"),
    ],
)
def test_host_is_an_address_or_a_name_of_the_namespace(
    connect: Callable[..., Piped], server: socket.socket, args: list[str], address: str
) -> None:
    assert reached(connect(*args), server) == address


@pytest.mark.parametrize(("host", "address"), [("no-v6.test", ADDRESS), ("no-v4.test", ADDRESS6)])
def test_family_that_swallows_everything_does_not_hold_up_the_other(
    connect: Callable[..., Piped], server: socket.socket, host: str, address: str
) -> None:
    """Without -w: the kernel alone would try for two minutes."""
    assert reached(connect(host, "80"), server) == address


@pytest.mark.parametrize(
    ("host", "source", "seen"),
    [
        ("127.0.0.1", "127.0.0.7", "127.0.0.7"),
        (ADDRESS, "127.0.0.7", "127.0.0.7"),
        (ADDRESS6, "2001:db8::1", "2001:db8::1"),
        ("both.test", "2001:db8::1", "2001:db8::1"),
        ("both.test", "127.0.0.7", "127.0.0.7"),
    ],
)
def test_source_is_the_address_that_was_asked_for(
    connect: Callable[..., Piped], server: socket.socket, host: str, source: str, seen: str
) -> None:
    """Of a name's addresses, those of the source's family are used."""
    process = connect("-s", source, host, "80")
    peer, address = server.accept()
    assert address[0].removeprefix("::ffff:") == seen
    peer.close()
    process.close_input()
    assert process.wait() == 0


@pytest.mark.parametrize("host", [[ADDRESS], ["-4", "both.test"]])
def test_datagrams_go_and_come(connect: Callable[..., Piped], name: str, host: list[str]) -> None:
    with open_inside(name, socket.SOCK_DGRAM, PORT) as server:
        server.settimeout(LIMIT_S)
        process = connect("-u", *host, "80")
        process.write(b"one")
        data, peer = server.recvfrom(99)
        assert data == b"one"
        server.sendto(b"two", peer)
        assert process.read(3) == b"two"
        process.write(b"three")
        assert server.recv(99) == b"three"
        process = connect("-u", "-s", "127.0.0.8", *host, "80")
        process.write(b"one")
        assert server.recvfrom(99)[1][0] == "127.0.0.8"


@pytest.mark.parametrize("args", [[ADDRESS], ["-u", ADDRESS], ["-4", "both.test"], ["-4u", "both.test"]])
def test_connection_is_passed_over_standard_output(
    run: RunTool, name: str, server: socket.socket, args: list[str]
) -> None:
    """OpenSSH wants one byte with one descriptor, connected and blocking, and then an end without errors."""
    ours, theirs = socket.socketpair()
    with ours, theirs, piped_tool(run) as start:
        ours.settimeout(LIMIT_S)
        process = start(name, "connect", "-F", *args, "80", standard=(theirs.fileno(), theirs.fileno()))
        packet, (fd,) = take_packet(ours, 2, 2)
        assert (process.wait(), process.said(), packet) == (0, "", b"\0")
        with socket.socket(fileno=fd) as sock:
            assert os.get_blocking(fd)
            assert sock.getpeername() == (ADDRESS, PORT)
            assert netns_cookie(sock) == cookie_inside(name)


UNREACHED = "can't connect to {} port 80: "
UNKNOWN = UNREACHED.format("nothing.test") + "Name or service not known"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([ADDRESS], UNREACHED.format(ADDRESS) + "Connection refused: no server listens there, so start one"),
        (["-u", ADDRESS], "Connection refused"),
        (["both.test"], UNREACHED.format("both.test") + "Connection refused: no server listens there"),
        (["-w", "0.3", SILENT], UNREACHED.format(SILENT) + "timed out after 0.3 s (-w): no answer, so check"),
        (["-w", "0.6", "nowhere.test"], UNREACHED.format("nowhere.test") + "timed out after 0.6 s (-w): no answer"),
        (["nothing.test"], UNKNOWN),
        (["-u", "nothing.test"], UNKNOWN),
        (["-s", "192.0.2.1", ADDRESS], "can't connect from 192.0.2.1: Cannot assign requested address: the namespace"),
        (["-s", "192.0.2.1", "both.test"], "can't connect from 192.0.2.1: "),
        (["-us", "192.0.2.1", "both.test"], "can't connect from 192.0.2.1: "),
        (["-s", "::1", ADDRESS], "can't connect from ::1: "),
        (["-s", "::1", "nowhere.test"], UNREACHED.format("nowhere.test") + "No address associated with hostname"),
        (["-us", "::1", "nowhere.test"], UNREACHED.format("nowhere.test") + "No address associated with hostname"),
        (["fe80::1%none"], UNREACHED.format("fe80::1%none") + "No such device: the namespace has no such interface"),
    ],
)
def test_failure_is_1_and_one_line_that_says_what_to_do(
    connect: Callable[..., Piped], args: list[str], said: str
) -> None:
    process = connect(*args, "80")
    if "-u" in args:
        process.write(b"anyone?")
    line = process.said()
    assert process.wait() == 1
    assert line.startswith("nsbroker-get: ")
    assert said in line
    assert line.count("\n") == 1


def test_namespace_without_a_route_is_said(run: RunTool, make_namespace: Callable[..., str]) -> None:
    name = make_namespace()
    done = run(name, "connect", "192.0.2.1", "80")
    assert done.status == 1
    assert f"Network is unreachable: the namespace has no route there, see nsbroker-get {name} -- ip" in done.err


def test_policy_is_asked_for_the_kind_of_socket(
    start_broker: Callable[..., BrokerProcess], make_namespace: Callable[..., str]
) -> None:
    name = make_namespace()
    grant = f'[[grant]]\nname = "g"\nusers = ["*"]\nnamespaces = ["{name}"]\nsockets = ["udp"]\n'
    with run_tool(start_broker(grant)) as run:
        done = run(name, "connect", "127.0.0.1", "80")
    assert done.status == 1
    assert "no tcp sockets" in done.err
