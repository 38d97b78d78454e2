"""--mark, --transparent and --freebind of the verbs, and endpoints that come later or name an interface."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest

from support.brokers.process import BrokerProcess
from support.inside import call_inside
from support.names.etc_netns import make_files, remove_files
from support.namespaces import PREFIX, ip
from support.sockets_inside import open_inside
from support.tool.running import RunTool, python, run_tool
from support.users import USER
from support.waiting import wait_until

NOT_HERE = "10.99.99.99"
GRANTS = f"""
[[grant]]
name = "router"
users = [{USER}]
namespaces = ["{PREFIX}*"]
sockets = ["tcp", "udp", "packet", "netlink:route", "unix"]
options = ["mark=0x10", "transparent"]
bind = ["*:*"]
"""
NO_NAME = "nsbroker-get NS resolve shows the addresses of a name, and -4 and -6 choose the family"
FLAGS = ["--mark", "0x10", "--transparent", "--freebind"]
SHOW = """
import socket, sys
for number in sys.argv[1:]:
    sock = socket.socket(fileno=int(number))
    level, names = (0, (19, 15)) if sock.family == socket.AF_INET else (41, (75, 78))
    print(sock.getsockname()[0], sock.getsockopt(1, 36), *(sock.getsockopt(level, name) for name in names))
"""


@pytest.fixture
def broker(start_broker: Callable[..., BrokerProcess]) -> BrokerProcess:
    return start_broker(GRANTS)


@pytest.fixture
def run(broker: BrokerProcess) -> Iterator[RunTool]:
    with run_tool(broker) as tool:
        yield tool


@pytest.fixture
def name(make_namespace: Callable[..., str]) -> str:
    """A namespace with an interface va that the caller's own lacks."""
    name = make_namespace("flags")
    ip("-n", name, "link", "add", "va", "type", "veth", "peer", "name", "vb")
    for link in ("va", "vb"):
        ip("-n", name, "link", "set", link, "up")
    ip("-n", name, "address", "add", "fe80::a/64", "dev", "va", "nodad")
    return name


def test_listeners_have_the_options(run: RunTool, name: str) -> None:
    """Also for an address that the namespace does not have."""
    endpoints = ["-l", f"{NOT_HERE}:80", "-l", "[fd99::9]:80", "-l", "53/udp"]
    done = run(name, "listen", *FLAGS, *endpoints, "--", python(), "-c", SHOW, "3", "4", "5")
    assert done == (0, f"{NOT_HERE} 16 1 1\nfd99::9 16 1 1\n0.0.0.0 16 1 1\n", "")


def test_socket_has_the_options(run: RunTool, name: str) -> None:
    args = ["--type", "udp", "-6", "--bind", "[fd99::9]:53", "--fd", "7"]
    assert run(name, "socket", *FLAGS, *args, "--", python(), "-c", SHOW, "7") == (0, "fd99::9 16 1 1\n", "")
    mark = "import socket; print(socket.socket(fileno=7).getsockopt(1, 36))"
    args = ["--type", "packet", "--bind", "va", "--fd", "7"]
    assert run(name, "socket", "--mark=16", *args, "--", python(), "-c", mark) == (0, "16\n", "")


@pytest.fixture
def marked_route(name: str) -> Iterator[str]:
    """Only marked packets have a route to this address."""
    ip("-n", name, "rule", "add", "fwmark", "16", "table", "16")
    ip("-n", name, "address", "add", "10.51.0.1/32", "dev", "lo")
    ip("-n", name, "route", "add", "local", "10.50.0.0/24", "dev", "lo", "table", "16", "src", "10.51.0.1")
    files = make_files(name)
    (files / "hosts").write_text("10.50.0.1 marked.example\n")
    yield name
    remove_files(name)


@pytest.mark.parametrize("host", ["10.50.0.1", "marked.example"])
@pytest.mark.parametrize("udp", [[], ["-u"]], ids=["TCP", "UDP"])
def test_connection_has_the_mark(run: RunTool, marked_route: str, host: str, udp: list[str]) -> None:
    """No server answers there, but the packets have a route."""
    unmarked = run(marked_route, "connect", *udp, host, "80")
    assert (unmarked.status, "Network is unreachable" in unmarked.err) == (1, True)
    marked = run(marked_route, "connect", "--mark=16", *udp, "-w", "0.1", host, "80")
    assert (marked.status, "timed out" in marked.err) == ((0, False) if udp else (1, True))


def test_names_to_bind_to_are_looked_up_in_the_namespace(run: RunTool, name: str) -> None:
    files = make_files(name)
    (files / "hosts").write_text("127.0.0.5 localhost\n127.0.0.6 localhost\n::1 six.example\nfd99::9 far.example\n")
    (files / "nsswitch.conf").write_text("hosts: files\n")
    show = "import socket; print(*(socket.socket(fileno=number).getsockname()[0] for number in (3, 4)))"
    try:
        listening = run(name, "listen", "-l", "localhost:80", "-l", "localhost:81/udp", "--", python(), "-c", show)
        assert listening == (0, "127.0.0.5 127.0.0.5\n", "")
        args = ["--type", "udp", "-6", "--bind", "six.example:53", "--fd", "3", "--fd", "4"]
        assert run(name, "socket", *args, "--", python(), "-c", show) == (0, "::1 ::1\n", "")
        wrong = run(name, "listen", "-l", "far.example:80", "--", "true")
        assert wrong.err == f"nsbroker-get: -l far.example:80: Name or service not known: {NO_NAME}\n"
    finally:
        remove_files(name)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "fe80::a%va"])
def test_connection_comes_from_any_address(run: RunTool, name: str, host: str) -> None:
    ip("-n", name, "route", "add", "local", "10.99.99.0/24", "dev", "lo")
    family, source, option = socket.AF_INET, "10.99.99.1", "-4"
    if ":" in host:
        family, source, option = socket.AF_INET6, "fe80::a%va", "-6"
    with open_inside(name, socket.SOCK_STREAM, 80, family) as server:
        client = run.start(name, "connect", option, "--freebind", "-s", source, host, "80")
        connection, peer = server.accept()
        connection.close()
        assert client.finish() == (0, "", "")
    assert peer[0] == source.partition("%")[0]


@pytest.mark.parametrize(
    ("args", "status", "says"),
    [
        (["listen", "--mark", "x", "-l", "80"], 125, "--mark takes a number such as 16 or 0x10"),
        (["listen", "--mark", "-1", "-l", "80"], 125, "--mark takes a number such as 16 or 0x10"),
        (["listen", "--mark=16", "-l", "@x"], 125, "Unix sockets have none of --mark, --transparent and --freebind"),
        (["socket", "--freebind", "--type", "netlink:route", "--fd", "3"], 125, "netlink sockets have none of --mark"),
        (["socket", "--transparent", "--type", "packet", "--fd", "3"], 125, "packet sockets have only --mark"),
        (["listen", "--mark=17", "-l", "80"], 1, "grant 'router' does not allow option mark=0x11"),
        (["listen", "-l", f"{NOT_HERE}:80"], 1, f"-l {NOT_HERE}:80: Cannot assign requested address: no interface of"),
        (["listen", "--wait", "0.1", "-l", f"{NOT_HERE}:80"], 1, f"-l {NOT_HERE}:80: Cannot assign requested address"),
        (["listen", "-l", "[fe80::a%nowhere]:80"], 1, "-l [fe80::a%nowhere]:80: No such device: the namespace has no"),
    ],
)
def test_flag_that_does_not_fit_is_one_line(run: RunTool, name: str, args: list[str], status: int, says: str) -> None:
    done = run(name, *args, "--", "sh", "-c", "echo it runs")
    assert (done.status, done.out) == (status, "")
    assert done.err.startswith(f"nsbroker-get: {says}"), done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    "args",
    [["listen", "-l", "[fe80::a%va]:7778"], ["socket", "--type", "tcp", "--bind", "[fe80::a%va]:7778", "--fd=3"]],
)
def test_endpoint_names_an_interface_of_the_namespace(run: RunTool, name: str, args: list[str]) -> None:
    index = ip("-n", name, "-o", "link", "show", "va").partition(":")[0]
    code = "import socket; host, port, _, scope = socket.socket(fileno=3).getsockname(); print(host, port, scope)"
    assert run(name, *args, "--", python(), "-c", code) == (0, f"fe80::a 7778 {index}\n", "")


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize(("endpoint", "address"), [("10.98.0.1:80", "10.98.0.1/24"), ("[fd98::1]:80", "fd98::1/64")])
def test_address_that_comes_later_is_waited_for(
    run: RunTool, name: str, broker: BrokerProcess, place: str, endpoint: str, address: str
) -> None:
    """The option stands before the namespace, or after the verb. IPv6 first checks that an address is unique."""
    wait = ["--wait", "60"]
    args = [*wait, name, "listen"] if place == "before" else [name, "listen", *wait]
    code = "import socket; print(socket.socket(fileno=3).getsockname()[0])"
    server = run.start(*args, "-l", endpoint, "--", python(), "-c", code)
    wait_until(lambda: any(record.get("audit") == "open" for record in broker.audit()))
    ip("-n", name, "address", "add", address, "dev", "va")
    assert server.finish() == (0, f"{address.partition('/')[0]}\n", "")


def test_listener_at_an_address_of_another_host_accepts_for_it(run: RunTool, name: str) -> None:
    """Once a route brings the packets here."""
    ip("-n", name, "route", "add", "local", "10.99.99.0/24", "dev", "lo")
    code = "import socket; socket.socket(fileno=3).accept()[0].sendall(b'here')"
    server = run.start(name, "listen", "--freebind", "-l", f"{NOT_HERE}:80", "--", python(), "-c", code)
    assert call_inside(name, _read_from, (NOT_HERE, 80)) == b"here"
    assert server.finish() == (0, "", "")


def _read_from(address: tuple[str, int]) -> bytes:
    with socket.socket() as sock:
        wait_until(lambda: sock.connect_ex(address) == 0)
        return sock.makefile("rb").read()
