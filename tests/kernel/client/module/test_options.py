"""Options that only the broker can set, and addresses that are not there yet or name an interface."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from nsbroker import AccessDeniedError, Client, Namespace, SocketSpec
from nsbroker.adapters.asyncio import AsyncClient
from nsbrokerd.policy.options import IP_TRANSPARENT, IPV6_TRANSPARENT, SO_MARK
from support.brokers.process import BrokerProcess
from support.namespaces import PREFIX, ip
from support.users import GROUP, USER, as_unprivileged, can_start_programs
from support.waiting import wait_until

IP_FREEBIND, IPV6_FREEBIND = 15, 78
NOT_HERE = "10.99.99.99"
GRANTS = f"""
[[grant]]
name = "router"
users = [{USER}]
namespaces = ["{PREFIX}*"]
sockets = ["tcp", "udp", "icmp", "packet", "netlink:route", "unix"]
options = ["mark=0x10", "transparent"]
bind = ["*:*"]
"""


@pytest.fixture
def broker(start_broker: Callable[..., BrokerProcess]) -> BrokerProcess:
    return start_broker(GRANTS)


@pytest.fixture
def name(make_namespace: Callable[..., str]) -> str:
    return make_namespace("options")


@pytest.fixture
def va(name: str) -> str:
    """The interface va, with the address fe80::a. The caller's own namespace has no interface of this name."""
    ip("-n", name, "link", "add", "va", "address", "02:00:00:00:00:0a", "type", "veth", "peer", "name", "vb")
    for link in ("va", "vb"):
        ip("-n", name, "link", "set", link, "up")
    ip("-n", name, "address", "add", "fe80::a/64", "dev", "va", "nodad")
    return name


def _options(sock: socket.socket) -> list[int]:
    is_ipv4 = sock.family == socket.AF_INET
    names = (IP_TRANSPARENT, IP_FREEBIND) if is_ipv4 else (IPV6_TRANSPARENT, IPV6_FREEBIND)
    level = socket.IPPROTO_IP if is_ipv4 else socket.IPPROTO_IPV6
    return [sock.getsockopt(socket.SOL_SOCKET, SO_MARK), *(sock.getsockopt(level, name) for name in names)]


def _of_every_socket(path: str, name: str) -> dict[str, list[int]]:
    blue = Namespace(name, path=path, mark=16, transparent=True, freebind=True)
    found = {}
    for family, kind in ((socket.AF_INET, "IPv4"), (socket.AF_INET6, "IPv6")):
        for number, protocol in ((socket.SOCK_STREAM, "TCP"), (socket.SOCK_DGRAM, "UDP")):
            with blue.socket(family, number) as sock:
                found[f"{protocol}, {kind}"] = _options(sock)
    with blue.create_server((NOT_HERE, 0)) as server, blue.create_server(("localhost", 0)) as local:
        found["elsewhere"] = _options(server)
        with blue.create_connection(local.getsockname()) as near, local.accept()[0] as far:
            found |= {"server": _options(local), "near": _options(near), "far": _options(far)}
    return found


def test_every_socket_of_a_namespace_has_its_options(name: str, broker: BrokerProcess) -> None:
    found = as_unprivileged(_of_every_socket, str(broker.socket_path), name)
    assert len(found) == 8
    assert [sock for sock, options in found.items() if options != [16, 1, 1]] == []


def _of_other_families(path: str, name: str) -> list[int]:
    blue = Namespace(name, path=path, mark=16, transparent=True, freebind=True)
    marks = []
    for triple in ((socket.AF_PACKET, socket.SOCK_RAW), (socket.AF_NETLINK, socket.SOCK_RAW), (socket.AF_UNIX, 1)):
        with blue.socket(*triple) as sock:
            marks.append(sock.getsockopt(socket.SOL_SOCKET, SO_MARK))
    assert blue.if_nametoindex("lo") == 1
    assert (1, "lo") in blue.if_nameindex()
    return marks


def test_other_families_have_the_options_that_they_know(name: str, broker: BrokerProcess) -> None:
    assert as_unprivileged(_of_other_families, str(broker.socket_path), name) == [16, 0, 0]


def _set_again(path: str, name: str) -> list[object]:
    seen: list[object] = []
    with Namespace(name, path=path, mark=16, transparent=True).socket() as sock:
        for level, option, value in (
            (socket.SOL_SOCKET, SO_MARK, 16),
            (socket.SOL_SOCKET, SO_MARK, (16).to_bytes(4, "little")),
            (socket.IPPROTO_IP, IP_TRANSPARENT, 1),
            (socket.SOL_SOCKET, SO_MARK, 17),
        ):
            try:
                sock.setsockopt(level, option, value)
                seen.append(sock.getsockopt(level, option))
            except PermissionError as error:
                seen += [error.errno, str(error)]
    with Namespace(name, path=path).socket() as sock:
        for args in ((socket.IPPROTO_IP, IP_TRANSPARENT, 1), (socket.SOL_SOCKET, socket.SO_DEBUG, 1)):
            with pytest.raises(PermissionError) as caught:
                sock.setsockopt(*args)
            seen.append(str(caught.value))
    return seen


def test_option_can_be_set_again_to_its_value_only(name: str, broker: BrokerProcess) -> None:
    """For another value, the error says how to ask for it. Options that the broker does not set have another error."""
    text = "[Errno 1] Operation not permitted: only the broker can set this option, when it makes the socket: "
    mark = f"{text}use Namespace(..., mark=0x11), if a grant has it in options"
    transparent = f"{text}use Namespace(..., transparent=True), if a grant has it in options"
    plain = f"[Errno {errno.EACCES}] Permission denied"
    seen = as_unprivileged(_set_again, str(broker.socket_path), name)
    assert seen == [16, 16, 1, errno.EPERM, mark, transparent, plain]


def _set_again_on_streams(path: str, name: str) -> dict[str, list[object]]:
    blue = Namespace(name, path=path, mark=16, transparent=True)
    seen: dict[str, list[object]] = {}

    def set_again(label: str, sock: socket.socket) -> None:
        seen[label] = [type(sock) is socket.socket, *_options(sock)[:2]]
        for level, option, value in ((socket.SOL_SOCKET, SO_MARK, 16), (socket.IPPROTO_IP, IP_TRANSPARENT, 1)):
            with pytest.raises(PermissionError) as caught:
                sock.setsockopt(level, option, value)
            seen[label].append(str(caught.value))

    with blue.create_server(("127.0.0.1", 0)) as server, blue.create_connection(server.getsockname()) as near:
        set_again("server", server)
        set_again("near", near)
        with server.accept()[0] as far:
            set_again("far", far)
    with blue.socket() as sock, socket.socket(fileno=sock.detach()) as copy:
        set_again("copy", copy)
    return seen


def test_plain_socket_has_its_options_but_the_kernels_own_error(name: str, broker: BrokerProcess) -> None:
    """The class is that of the socket module, in which no code of the library runs."""
    seen = as_unprivileged(_set_again_on_streams, str(broker.socket_path), name)
    refused = "[Errno 1] Operation not permitted"
    assert seen == {label: [True, 16, 1, refused, refused] for label in ("server", "near", "far", "copy")}


PATCHED = """
import sys, nsbroker
nsbroker.patch(nsbroker.Namespace(sys.argv[1], mark=16))
import socket
server = socket.create_server(("127.0.0.1", 0))
near = socket.create_connection(server.getsockname())
for sock in (server, near, server.accept()[0]):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 16)
    print(sock.getsockopt(socket.SOL_SOCKET, socket.SO_MARK))
try:
    near.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 17)
except PermissionError as error:
    print(error)
"""


def test_under_patch_each_socket_says_how_to_ask(name: str, broker: BrokerProcess) -> None:
    """Where the socket module's class is the library's, its streams have the errors of the library as well."""
    if not can_start_programs():
        pytest.skip("a user without rights can't read this Python, and root needs no rights of the broker")
    printed = subprocess.run(
        [sys.executable, "-P", "-c", PATCHED, name],
        env={**os.environ, "NSBROKER_SOCKET": str(broker.socket_path)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        user=USER,
        group=GROUP,
        extra_groups=[],
    ).stdout.splitlines()
    assert printed[:3] == ["16"] * 3
    assert printed[3].endswith("use Namespace(..., mark=0x11), if a grant has it in options")


def _connect_with_options(path: str, name: str) -> list[int]:
    blue = Namespace(name, path=path)
    options = [(socket.SOL_SOCKET, SO_MARK, 16), (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
    with blue.create_server(("127.0.0.1", 0)) as server, blue._connect(server.getsockname(), options=options) as near:
        return [near.getsockopt(*option[:2]) for option in options]


def test_option_that_a_library_sets_is_set_by_the_broker(name: str, broker: BrokerProcess) -> None:
    """The adapters pass on the options of their libraries, of which some need rights."""
    assert as_unprivileged(_connect_with_options, str(broker.socket_path), name) == [16, 1]


def _ask_for_another_mark(path: str, name: str) -> str:
    with pytest.raises(AccessDeniedError) as caught:
        Namespace(name, path=path, mark=17).socket()
    return str(caught.value)


def test_value_that_no_grant_has_is_refused(name: str, broker: BrokerProcess) -> None:
    text = as_unprivileged(_ask_for_another_mark, str(broker.socket_path), name)
    assert text == "[Errno 13] grant 'router' does not allow option mark=0x11"


@pytest.mark.parametrize("mark", [-1, 2**32])
def test_mark_out_of_range_is_refused_at_once(mark: int) -> None:
    with pytest.raises(ValueError, match="a mark is 0 to 0xffffffff"):
        Namespace("blue", mark=mark)


def test_address_of_another_host_needs_freebind(name: str, broker: BrokerProcess) -> None:
    blue = Namespace(name, path=str(broker.socket_path))
    with pytest.raises(OSError, match="Cannot assign") as caught:
        as_unprivileged(blue.create_server, (NOT_HERE, 80))
    assert caught.value.errno == errno.EADDRNOTAVAIL


def _serve_when_possible(path: str, name: str, address: tuple[str, int], family: int) -> str:
    with Namespace(name, path=path, wait=60).create_server(address, family=family) as server:
        return str(server.getsockname()[0])


@pytest.mark.parametrize("address", ["10.98.0.1", "fd98::1", "fe80::98%late"])
def test_address_that_comes_later_is_waited_for(name: str, broker: BrokerProcess, address: str) -> None:
    """IPv6 first checks that an address is unique: in this time, no socket can be bound to it."""
    ip("-n", name, "link", "add", "va", "type", "veth", "peer", "name", "vb")
    ip("-n", name, "link", "set", "vb", "up")
    host, _, interface = address.partition("%")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found: list[str] = []
    path = str(broker.socket_path)
    thread = threading.Thread(
        target=lambda: found.append(as_unprivileged(_serve_when_possible, path, name, (address, 80), family))
    )
    thread.start()
    wait_until(lambda: any(record.get("audit") == "open" for record in broker.audit()))
    interface = interface or "va"
    ip("-n", name, "link", "set", "va", "name", interface)
    ip("-n", name, "link", "set", interface, "up")
    ip("-n", name, "address", "add", f"{host}/{64 if ':' in host else 24}", "dev", interface)
    thread.join()
    assert found == [host]


def test_address_that_does_not_come_is_the_kernels_error(name: str, broker: BrokerProcess) -> None:
    blue = Namespace(name, path=str(broker.socket_path), wait=0.2)
    with pytest.raises(OSError, match="Cannot assign") as caught:
        as_unprivileged(blue.create_server, ("192.0.2.1", 80))
    assert caught.value.errno == errno.EADDRNOTAVAIL
    assert len([record for record in broker.audit() if record["audit"] == "open"]) > 1


def _by_interface(path: str, name: str) -> list[tuple[str, int]]:
    blue = Namespace(name, path=path)
    seen = []
    with blue.create_server(("fe80::a%va", 7778), family=socket.AF_INET6) as server:
        seen.append(server.getsockname())
        with blue.create_connection(("fe80::a%va", 7778), source_address=("fe80::a%va", 0)) as near:
            seen.append(near.getpeername())
    with blue.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp:
        udp.bind(("fe80::a%va", 7778))
        udp.sendto(b"x", ("fe80::a%va", 7778))
        seen.append(udp.recvfrom(9)[1])
    spec = SocketSpec(name, int(socket.AF_INET6), int(socket.SOCK_DGRAM), bind=("fe80::a%va", 7778, 0, 0))
    plain = spec._replace(bind=("::1", 7778, 0, 0))
    socks = Client(path).open([plain, spec])
    seen.append(socks[1].getsockname())
    assert socks[0].getsockname()[0] == "::1"
    for sock in socks:
        sock.close()
    [sock] = asyncio.run(AsyncClient(path).open([spec]))
    with sock:
        seen.append(sock.getsockname())
    with pytest.raises(OSError, match="No such device") as caught:
        Client(path).open([plain, spec._replace(bind=("fe80::a%nowhere", 7778, 0, 0))])
    assert getattr(caught.value, "index", None) == 1
    return [(address[0], address[3]) for address in seen]


def test_addresses_name_interfaces_of_the_namespace(va: str, broker: BrokerProcess) -> None:
    index = int(ip("-n", va, "-o", "link", "show", "va").partition(":")[0])
    assert as_unprivileged(_by_interface, str(broker.socket_path), va) == [("fe80::a", index)] * 5
