"""getaddrinfo returns the same as `socket.getaddrinfo`, and asks only the necessary questions."""

from __future__ import annotations

import socket
from itertools import product
from socket import AF_INET, AF_INET6, SOCK_DGRAM, SOCK_STREAM
from typing import Any, ClassVar

import pytest

from nsbroker.drivers.thread import run
from nsbroker.names.files import gai_conf
from nsbroker.names.files.host_conf import HostConf
from nsbroker.names.files.nsswitch import Source
from nsbroker.names.files.services import services
from nsbroker.names.getaddrinfo import getaddrinfo
from support.names.fake_dns import Blocking, Network, Server

ZONE = {
    "www.test": "A 10.0.0.1\nAAAA 2001:db8::1",
    "four.test": "A 10.0.0.4",
    "alias.test": "CNAME www.test.",
    "xn--bcher-kva.test": "A 10.0.0.6",
}
HOSTS = "10.5.5.5 Host.Example host\n10.5.5.6 host\n2001:db8::5 six\n10.0.0.66 www.mine\n"


def network() -> Network:
    made = Network({"10.0.0.53": Server(ZONE)}, "search test\n", HOSTS)
    made.sources = {"10.0.0.1": "10.0.0.9", "2001:db8::1": "2001:db8::9", "127.0.0.1": "127.0.0.1", "::1": "::1"}
    return made


def hosts_of(*arguments: Any, on: Network | None = None, **named: Any) -> list[str]:
    found = run(getaddrinfo(on or network(), *arguments, **{"type": SOCK_STREAM, **named}))
    return [address[0] for *_, address in found]


def code_of(*arguments: Any, on: Network | None = None, **named: Any) -> int | None:
    with pytest.raises(socket.gaierror) as raised:
        hosts_of(*arguments, on=on, **named)
    return raised.value.errno


class _NoFiles:
    resolv_conf = hosts = origin = ""
    files: ClassVar[dict[str, str]] = {}


def outcome(function: Any, *arguments: Any) -> object:
    try:
        return function(*arguments)
    except socket.gaierror as error:
        return error.args
    except (OSError, TypeError, OverflowError) as error:
        return type(error)


NUMERIC_HOSTS = (
    "1.2.3.4", "127.1", "0x7f.1", "1.2.3.256", "::1", "::", "fe80::1%lo", "fe80::1%1", "fe80::1%nope", "fe80::1%",
    "2001:db8::1%3", "2001:db8::1%lo", "fe80::1%4294967296", "::ffff:1.2.3.4", None, "", b"10.0.0.1", "*", "1.2.3.4 x",
    "name", 5,
)  # fmt: skip
PORTS = (80, None, "http", "domain", "", b"https", "nope", "80 ", " 80", "-1", 70000, -1, "*", 1 << 32, 1.5)


@pytest.mark.parametrize("family", [0, AF_INET, AF_INET6, socket.AF_UNIX])
@pytest.mark.parametrize("flags", [0, 1, 2, 8, 8 | 16, 1 | 2, 32, 0x400, 0x10000])
def test_numeric_input_gives_what_the_socket_module_gives(family: int, flags: int) -> None:
    """The same list in the same order with the same types, or the same error with the same text."""
    resolver = Blocking(socket.socket, _NoFiles)
    for host, port, type_, proto in product(NUMERIC_HOSTS, PORTS, (0, 1, 2, 3, 5, 9), (0, 1, 6, 17, 132)):
        # A text that is no number would be looked up.
        known = host is None or isinstance(host, bytes) or host in ("1.2.3.4", "127.1", "::", "::1", "fe80::1%lo")
        arguments = (host, port, family, type_, proto, flags if known else flags | socket.AI_NUMERICHOST)
        assert outcome(resolver.getaddrinfo, *arguments) == outcome(socket.getaddrinfo, *arguments), arguments


def test_types_of_the_result_are_the_socket_modules() -> None:
    ours = Blocking(socket.socket, _NoFiles).getaddrinfo("1.2.3.4", 80)
    assert repr(ours) == repr(socket.getaddrinfo("1.2.3.4", 80))


@pytest.mark.parametrize("port", [1 << 70, -(1 << 70)])
def test_port_that_no_c_long_holds_is_no_service(port: int) -> None:
    """Each Python behaves as 3.12 does. Before, the socket module raised OverflowError."""
    assert code_of("1.2.3.4", port) == socket.EAI_SERVICE


def test_numeric_host_asks_nobody() -> None:
    quiet = network()
    assert hosts_of("10.0.0.1", 80, on=quiet) == ["10.0.0.1"]
    assert (quiet.configured, quiet.asked) == (0, [])


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST", "localhost.", "a.b.localhost", "LocalHost."])
def test_localhost_that_the_hosts_file_lacks_has_the_loopback_addresses(name: str) -> None:
    """No name server is asked, even if the namespace has no source but DNS."""
    quiet = network()
    assert hosts_of(name, 80, on=quiet) == ["::1", "127.0.0.1"]
    assert hosts_of(name, 80, AF_INET, on=quiet) == ["127.0.0.1"]
    quiet.files = quiet.files._replace(sources=(Source("dns", frozenset({"NOTFOUND"})),))
    assert hosts_of(name, 80, AF_INET6, on=quiet) == ["::1"]
    assert quiet.asked == []


def test_hosts_file_comes_before_the_built_in_addresses_of_localhost() -> None:
    """It also decides which families localhost has."""
    mine = Network({"10.0.0.53": Server(ZONE)}, "", "127.0.0.5 localhost\n10.0.0.2 app.localhost\n")
    assert hosts_of("localhost", 80, on=mine) == ["127.0.0.5"]
    assert hosts_of("app.localhost", 80, on=mine) == ["10.0.0.2"]
    assert code_of("localhost", 80, AF_INET6, on=mine) == socket.EAI_NONAME
    assert hosts_of("other.localhost", 80, AF_INET, on=mine) == ["127.0.0.1"]


def test_sources_are_asked_in_the_order_of_nsswitch_conf() -> None:
    """A source that is not installed here is passed over, with its actions."""
    asking = network()
    asking.files = asking.files._replace(sources=(Source("mdns"), Source("dns"), Source("files")))
    assert hosts_of("host", 80, AF_INET, on=asking) == ["10.5.5.5", "10.5.5.6"]
    assert asking.questions() == ["A host.test", "A host"]
    asking.files = asking.files._replace(sources=(Source("files", frozenset({"NOTFOUND", "SUCCESS"})), Source("dns")))
    assert code_of("www", 80, on=asking) == socket.EAI_NONAME
    asking.files = asking.files._replace(sources=(Source("resolve", frozenset({"UNAVAIL"})), Source("files")))
    assert code_of("host", 80, on=asking) == socket.EAI_NONAME
    assert len(asking.asked) == 2


def test_hosts_file_comes_before_dns() -> None:
    quiet = network()
    assert hosts_of("HOST", 80, on=quiet) == ["10.5.5.5", "10.5.5.6"]
    assert quiet.asked == []


def test_name_that_the_hosts_file_has_for_another_family_is_asked_for() -> None:
    asking = network()
    assert code_of("six", 80, AF_INET, on=asking) == socket.EAI_NONAME
    assert asking.questions() == ["A six.test", "A six"]


def test_dns_answers_come_in_the_order_of_rfc_6724() -> None:
    assert hosts_of("www", 80) == ["2001:db8::1", "10.0.0.1"]
    no_ipv6 = network()
    no_ipv6.sources = {"10.0.0.1": "10.0.0.9"}
    assert hosts_of("www", 80, on=no_ipv6) == ["10.0.0.1", "2001:db8::1"]
    unknown = network()
    unknown.sources = None
    assert hosts_of("www", 80, on=unknown) == ["2001:db8::1", "10.0.0.1"]
    sorted_otherwise = network()
    sorted_otherwise.files = sorted_otherwise.files._replace(rules=gai_conf.parse("precedence ::ffff:0:0/96 100"))
    assert hosts_of("www", 80, on=sorted_otherwise) == ["10.0.0.1", "2001:db8::1"]


def test_address_in_a_network_of_the_namespace_comes_first_on_request() -> None:
    """Source: host.conf(5)."""
    near = network()
    near.networks = {"10.5.5.7": 31}
    assert hosts_of("host", 80, AF_INET, on=near) == ["10.5.5.5", "10.5.5.6"]
    near.files = near.files._replace(host_conf=HostConf(reorder=True))
    assert hosts_of("host", 80, AF_INET, on=near) == ["10.5.5.6", "10.5.5.5"]


def test_one_address_needs_no_order() -> None:
    alone = network()
    alone.find_sources = None  # type: ignore[assignment,method-assign]  # asking would fail
    assert hosts_of("four", 80, on=alone) == ["10.0.0.4"]


def test_every_kind_of_socket_is_there_for_each_address() -> None:
    found = run(getaddrinfo(network(), "www", "domain"))
    assert [(row[0], row[1], row[2], row[4][:2]) for row in found] == [
        (AF_INET6, SOCK_STREAM, 6, ("2001:db8::1", 53)), (AF_INET6, SOCK_DGRAM, 17, ("2001:db8::1", 53)),
        (AF_INET, SOCK_STREAM, 6, ("10.0.0.1", 53)), (AF_INET, SOCK_DGRAM, 17, ("10.0.0.1", 53)),
    ]  # fmt: skip


def test_canonical_name_stands_in_the_first_row_alone() -> None:
    found = run(getaddrinfo(network(), "alias", 80, flags=socket.AI_CANONNAME))
    assert [row[3] for row in found] == ["www.test"] + [""] * 5
    assert run(getaddrinfo(network(), "host", 80, flags=socket.AI_CANONNAME))[0][3] == "Host.Example"
    assert run(getaddrinfo(network(), "localhost", 80, flags=socket.AI_CANONNAME))[0][3] == "localhost"


def test_names_in_other_scripts_are_asked_for_as_idna() -> None:
    asking = network()
    assert hosts_of("bücher.test", 80, on=asking) == ["10.0.0.6"]
    assert asking.questions() == ["A xn--bcher-kva.test", "AAAA xn--bcher-kva.test"]
    assert hosts_of(b"www.test", 80, AF_INET) == ["10.0.0.1"]


@pytest.mark.parametrize("host", ["", "é" * 64, b"\xff", "a\0b", "a..b", "x" * 300, "\udc80", "a b", "-www", b"x" * 64])
def test_host_that_can_be_no_name_is_eai_noname(host: str | bytes) -> None:
    quiet = network()
    assert code_of(host, 80, on=quiet) == socket.EAI_NONAME
    assert quiet.asked == []


@pytest.mark.parametrize("host", ["é" * 64, "a..b", "x" * 64, "\udc80"])
def test_host_that_idna_can_not_encode_is_a_unicode_error_too(host: str) -> None:
    with pytest.raises(UnicodeError, match=r"label|Invalid character|long"):
        hosts_of(host, 80)


def test_port_that_is_no_unicode_is_the_error_of_the_socket_module() -> None:
    with pytest.raises(UnicodeEncodeError, match="surrogates not allowed"):
        hosts_of("1.2.3.4", "\ud800")


def test_digits_and_dots_that_are_no_address_are_no_question() -> None:
    """Source: nss/digits_dots.c in glibc, which only gethostbyname(3) uses."""
    asking = network()
    assert code_of("1.2.3.4.5", 80, AF_INET, on=asking) == socket.EAI_NONAME
    assert asking.asked == []
    assert code_of("1.2.3.4.5", 80, on=asking) == socket.EAI_NONAME
    assert asking.questions() != []


def test_v4mapped_gives_ipv4_addresses_where_there_are_no_others() -> None:
    mapped = socket.AI_V4MAPPED
    assert hosts_of("four", 80, AF_INET6, flags=mapped) == ["::ffff:10.0.0.4"]
    assert hosts_of("www", 80, AF_INET6, flags=mapped) == ["2001:db8::1"]
    assert hosts_of("www", 80, AF_INET6, flags=mapped | socket.AI_ALL) == ["2001:db8::1", "::ffff:10.0.0.1"]
    assert hosts_of("www", 80, AF_INET6, flags=socket.AI_ALL) == ["2001:db8::1"]
    assert code_of("four", 80, AF_INET6) == socket.EAI_NODATA


def test_addrconfig_leaves_out_what_the_namespace_has_no_address_for() -> None:
    four = network()
    four.families = frozenset({AF_INET})
    assert hosts_of("www", 80, flags=socket.AI_ADDRCONFIG, on=four) == ["10.0.0.1"]
    assert four.questions() == ["A www.test"]
    assert code_of("www", 80, AF_INET6, flags=socket.AI_ADDRCONFIG, on=four) == socket.EAI_NONAME
    neither = network()
    neither.families = frozenset()
    assert len(hosts_of("www", 80, flags=socket.AI_ADDRCONFIG, on=neither)) == 2


def test_scope_is_an_interface_of_the_namespace() -> None:
    found = run(getaddrinfo(network(), "fe80::1%eth0", 80, type=SOCK_STREAM))
    assert found[0][4] == ("fe80::1", 80, 0, 7)
    assert code_of("fe80::1%eth9", 80) == socket.EAI_NONAME
    assert code_of("2001:db8::1%eth0", 80) == socket.EAI_NONAME


def test_services_are_found_by_the_protocols_that_have_them() -> None:
    known = {("ours", "tcp"): 4000, ("ours", "sctp"): 4001}

    def by_name(name: str, proto: str) -> int:
        if (name, proto) not in known:
            raise OSError("service/proto not found")
        return known[name, proto]

    found = services("ours", 0, 0, numeric_only=False, by_name=by_name)
    assert [tuple(service) for service in found] == [(1, 6, 4000), (1, 132, 4001), (5, 132, 4001)]
    found = services("ours", 0, 132, numeric_only=False, by_name=by_name)
    assert [tuple(service) for service in found] == [(1, 132, 4001)]
    with pytest.raises(socket.gaierror) as raised:
        services("ours", SOCK_DGRAM, 0, numeric_only=False, by_name=by_name)
    assert raised.value.errno == socket.EAI_SERVICE


def test_arguments_of_wrong_types_are_refused_like_the_socket_modules() -> None:
    for host in (5, ["x"], bytearray(b"x")):
        with pytest.raises(TypeError, match="argument 1 must be string or None"):
            hosts_of(host, 80)
    with pytest.raises(OSError, match="Int or String expected"):
        hosts_of("1.2.3.4", 1.5)
