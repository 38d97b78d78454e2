"""Names are looked up in the namespace, by sockets of the broker, with the same results as glibc's."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from socket import AF_INET, AF_INET6, SOCK_STREAM
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from nsbroker import AccessDeniedError, Client, SocketSpec
from support.brokers.process import BrokerProcess
from support.names import dnsmasq
from support.names.dnsmasq import ADDRESS, ADDRESS6, SILENT, Dnsmasq, OwnFiles, ask_glibc, outcome
from support.names.fake_dns import Blocking
from support.namespaces import ip

RECORDS = [
    "--local=/#/",
    "--host-record=www.test,10.0.0.1,2001:db8::1",
    "--host-record=four.test,10.0.0.4",
    "--host-record=six.test,2001:db8::6",
    "--cname=alias.test,middle.test",
    "--cname=middle.test,www.test",
    "--host-record=www.corp,10.0.9.9",
    "--host-record=bare,10.0.0.5",
    "--host-record=dotted.name,10.0.0.6",
    "--host-record=dotted.name.test,10.0.0.7",
    "--host-record=xn--bcher-kva.test,10.0.0.8",
    "--txt-record=text.test,hello",
    "--ptr-record=1.0.0.10.in-addr.arpa,www.test",
    *(f"--host-record=big.test,10.1.0.{n}" for n in range(1, 61)),
    *(f"--host-record=multi.test,{address}" for address in ("10.99.0.77", "2001:db8::77", "2002::1", "::1")),
]
HOSTS = "10.5.5.5 Host.Example host\n10.5.5.6 host\n2001:db8::5 six-only\n"


class Files(NamedTuple):
    resolv_conf: str
    hosts: str = HOSTS
    origin: str = "/etc/resolv.conf"
    files: Mapping[str, str] = MappingProxyType({"host.conf": "multi on\n"})


class Place:
    """A namespace with its files, and the name servers that tests start there."""

    def __init__(self, name: str, broker: BrokerProcess) -> None:
        self.name = name
        self.files = OwnFiles(name)
        self._client = Client(str(broker.socket_path))
        self._servers: list[Dnsmasq] = []

    def serve(self, *addresses: str, options: list[str] = RECORDS) -> Dnsmasq:
        self._servers.append(Dnsmasq(self.name, options, addresses or (ADDRESS, ADDRESS6)))
        return self._servers[-1]

    def open_socket(self, family: int, kind: int) -> socket.socket:
        return self._client.open([SocketSpec(self.name, family, kind, 0)])[0]

    def resolver(self, resolv_conf: str) -> Blocking:
        """A resolver with this resolv.conf, which is also the one that glibc finds."""
        self.files.write(resolv_conf, HOSTS)
        return Blocking(self.open_socket, lambda: Files(resolv_conf), self.name)

    def close(self) -> None:
        for server in self._servers:
            server.stop()
        self._client.close()
        self.files.close()


@pytest.fixture
def place(make_namespace: Callable[..., str], broker: BrokerProcess) -> Iterator[Place]:
    if reason := dnsmasq.why_not():
        pytest.skip(reason)
    name = make_namespace()
    dnsmasq.add_network(name)
    made = Place(name, broker)
    yield made
    made.close()


def hosts_of(found: list[Any]) -> list[str]:
    return [row[4][0] for row in found]


ONE = f"nameserver {ADDRESS}\n"
NAMES = (
    "www", "www.test", "www.test.", "four", "four.test", "six", "alias", "alias.test", "www.corp", "bare", "bare.",
    "dotted.name", "dotted.name.", "bücher.test", "text", "text.test", "multi.test", "nope", "nope.test", "host",
    "HOST", "host.example", "six-only", "x" * 64, ".", "1.2.3.4.5",
)  # fmt: skip
SETTINGS = (
    "", "search test\n", "search corp test\n", "search test corp\noptions ndots:3\n", "search test\noptions ndots:0\n",
    "domain nope\n", "search .\n", "search test\noptions edns0 trust-ad use-vc\n",
    "search test\noptions single-request\n", "search test\noptions no-aaaa\n",
)  # fmt: skip


@pytest.mark.parametrize("settings", SETTINGS)
def test_every_name_is_to_us_what_it_is_to_glibc(place: Place, settings: str) -> None:
    """The same list in the same order, or the same error: all families, canonical names, AI_ADDRCONFIG."""
    place.serve()
    resolver = place.resolver(ONE + settings)
    calls = [
        (name, 80, family, SOCK_STREAM, 0, flags)
        for name in NAMES
        for family in (0, AF_INET, AF_INET6)
        for flags in (0, socket.AI_CANONNAME, socket.AI_ADDRCONFIG)
        # The glibc of Debian 12 takes ::1 and 2001:db8::5 of a hosts file for IPv4 as well, or not, as it comes.
        if (name, family) != ("six-only", AF_INET)
    ]
    theirs = ask_glibc(place.name, "getaddrinfo", calls)
    for call, expected in zip(calls, theirs, strict=True):
        assert outcome(resolver.getaddrinfo, *call) == expected, call


@pytest.mark.parametrize("name", ["10.0.0.1", "10.0.0.9", "10.5.5.5", "2001:db8::5", "2001:db8::99"])
def test_every_address_is_to_us_what_it_is_to_glibc(place: Place, name: str) -> None:
    place.serve()
    resolver = place.resolver(ONE)
    calls = [((name, 80), flags) for flags in (0, socket.NI_NAMEREQD, socket.NI_NUMERICHOST, socket.NI_DGRAM)]
    theirs = ask_glibc(place.name, "getnameinfo", calls)
    assert [outcome(resolver.getnameinfo, *call) for call in calls] == theirs


def test_both_families_are_asked_for_at_once(place: Place) -> None:
    server = place.serve()
    assert len(place.resolver(ONE).getaddrinfo("www.test", 80, type=SOCK_STREAM)) == 2
    assert sorted(server.questions()) == ["A www.test", "AAAA www.test"]


def test_long_answer_comes_by_tcp(place: Place) -> None:
    server = place.serve()
    found = place.resolver(ONE).getaddrinfo("big.test", 80, AF_INET, SOCK_STREAM)
    assert sorted(hosts_of(found)) == sorted(f"10.1.0.{n}" for n in range(1, 61))
    assert server.questions() == ["A big.test", "A big.test"]


def test_dead_first_server_costs_its_timeout_and_no_more(place: Place) -> None:
    place.serve()
    resolver = place.resolver(f"nameserver {SILENT}\n{ONE}options timeout:1\n")
    start = time.monotonic()
    assert hosts_of(resolver.getaddrinfo("four.test", 80, AF_INET, SOCK_STREAM)) == ["10.0.0.4"]
    assert 0.9 < time.monotonic() - start < 10


def test_servers_that_are_all_dead_are_eai_again(place: Place) -> None:
    resolver = place.resolver(f"nameserver {SILENT}\noptions timeout:1 attempts:2\n")
    start = time.monotonic()
    with pytest.raises(socket.gaierror, match="Temporary failure in name resolution") as raised:
        resolver.getaddrinfo("www.test", 80)
    assert raised.value.errno == socket.EAI_AGAIN
    assert raised.value.__notes__ == [f"name server {SILENT} of /etc/resolv.conf: no answer in time"]
    assert 1.9 < time.monotonic() - start < 20


def test_refusing_first_server_costs_nothing(place: Place) -> None:
    """An address of the namespace where no server is: the kernel refuses at once."""
    place.serve()
    ip("-n", place.name, "address", "add", "10.99.0.2/24", "dev", "net0")
    resolver = place.resolver(f"nameserver 10.99.0.2\n{ONE}")
    start = time.monotonic()
    assert hosts_of(resolver.getaddrinfo("four.test", 80, AF_INET, SOCK_STREAM)) == ["10.0.0.4"]
    assert time.monotonic() - start < 4


def test_rotation_takes_the_servers_in_turn(place: Place) -> None:
    ip("-n", place.name, "address", "add", "10.99.0.2/24", "dev", "net0")
    first, second = place.serve(ADDRESS), place.serve("10.99.0.2")
    resolver = place.resolver(f"{ONE}nameserver 10.99.0.2\noptions rotate\n")
    for _ in range(4):
        resolver.getaddrinfo("four.test", 80, AF_INET)
    assert len(first.questions()) == len(second.questions()) == 2


def test_ipv6_server_is_asked_with_its_scope_in_the_namespace(place: Place) -> None:
    """`net0` is no interface of this process's own namespace."""
    ip("-n", place.name, "address", "add", "fe80::53/64", "dev", "net0", "nodad")
    place.serve("fe80::53%net0")
    resolver = place.resolver("nameserver fe80::53%net0\n")
    assert hosts_of(resolver.getaddrinfo("four.test", 80, AF_INET, SOCK_STREAM)) == ["10.0.0.4"]


def test_scope_of_an_address_is_an_interface_of_the_namespace(place: Place) -> None:
    resolver = place.resolver(ONE)
    address = resolver.getaddrinfo("fe80::1%net0", 80, type=SOCK_STREAM)[0][4]
    assert address == ask_glibc(place.name, "getaddrinfo", [("fe80::1%net0", 80, 0, SOCK_STREAM)])[0][0][4]
    assert resolver.getnameinfo(address, socket.NI_NUMERICHOST)[0] == "fe80::1%net0"
    with pytest.raises(socket.gaierror) as raised:
        resolver.getaddrinfo("fe80::1%nowhere2", 80)
    assert raised.value.errno == socket.EAI_NONAME


def test_stub_of_the_host_is_refused_by_name(place: Place) -> None:
    with pytest.raises(socket.gaierror) as raised:
        place.resolver("nameserver 127.0.0.53\n").getaddrinfo("www.test", 80)
    assert raised.value.errno == socket.EAI_AGAIN
    assert f"127.0.0.53 of /etc/resolv.conf is the host's own stub, which namespace {place.name} can't reach" in str(
        raised.value
    )


def test_local_server_of_the_namespace_is_no_stub(place: Place) -> None:
    place.serve("127.0.0.53")
    assert hosts_of(place.resolver("nameserver 127.0.0.53\n").getaddrinfo("four.test", 80, AF_INET, SOCK_STREAM)) == [
        "10.0.0.4"
    ]


def test_addrconfig_looks_at_the_namespace(place: Place) -> None:
    """Whatever this process's own namespace has."""
    place.serve(ADDRESS)
    resolver = place.resolver(ONE)
    flags = socket.AI_ADDRCONFIG
    assert len(resolver.getaddrinfo("www.test", 80, type=SOCK_STREAM, flags=flags)) == 2
    for interface in ("net0", "nowhere"):
        ip("-n", place.name, "-6", "address", "flush", "dev", interface)
        setting = f"/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"
        ip("netns", "exec", place.name, "sh", "-c", f"echo 1 > {setting}")
    assert hosts_of(resolver.getaddrinfo("www.test", 80, type=SOCK_STREAM, flags=flags)) == ["10.0.0.1"]
    assert (
        outcome(resolver.getaddrinfo, "www.test", 80, AF_INET6, 0, 0, flags)
        == ask_glibc(place.name, "getaddrinfo", [("www.test", 80, AF_INET6, 0, 0, flags)])[0]
    )


def test_two_namespaces_are_never_mixed_up(
    place: Place, make_namespace: Callable[..., str], broker: BrokerProcess
) -> None:
    """The same name, from many threads at once."""
    name = make_namespace()
    dnsmasq.add_network(name)
    other = Place(name, broker)
    try:
        place.serve()
        other.serve(options=["--local=/#/", "--host-record=four.test,10.0.0.44"])
        resolvers = {"10.0.0.4": place.resolver(ONE), "10.0.0.44": other.resolver(ONE)}

        def look_up(address: str) -> bool:
            return hosts_of(resolvers[address].getaddrinfo("four.test", 80, AF_INET, SOCK_STREAM)) == [address]

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(look_up, list(resolvers) * 100))
    finally:
        other.close()


GRANT = """
[[grant]]
name = "one kind"
users = ["*"]
namespaces = ["*"]
sockets = ["{kind}"]
"""


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_grant_of_one_kind_alone_resolves(place: Place, start_broker: Callable[..., BrokerProcess], kind: str) -> None:
    place.serve()
    broker = start_broker(GRANT.format(kind=kind))
    with Client(str(broker.socket_path)) as client:

        def open_socket(family: int, type_: int) -> socket.socket:
            return client.open([SocketSpec(place.name, family, type_, 0)])[0]

        resolver = Blocking(open_socket, lambda: Files(ONE), place.name)
        found = resolver.getaddrinfo("www.test", 80, type=SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        assert set(hosts_of(found)) == {"10.0.0.1", "2001:db8::1"}
        address = resolver.getaddrinfo("fe80::1%net0", 80)[0][4]
        assert resolver.getnameinfo(address, socket.NI_NUMERICHOST)[0] == "fe80::1%net0"


def test_refusal_of_the_policy_is_said(place: Place, start_broker: Callable[..., BrokerProcess]) -> None:
    broker = start_broker(GRANT.format(kind="unix"))
    with Client(str(broker.socket_path)) as client:

        def open_socket(family: int, type_: int) -> socket.socket:
            return client.open([SocketSpec(place.name, family, type_, 0)])[0]

        with pytest.raises(socket.gaierror) as raised:
            Blocking(open_socket, lambda: Files(ONE), place.name).getaddrinfo("www.test", 80)
    assert raised.value.errno == socket.EAI_FAIL
    assert isinstance(raised.value.__cause__, AccessDeniedError)
