"""getnameinfo returns the same as `socket.getnameinfo`."""

from __future__ import annotations

import socket
from itertools import product
from typing import Any, ClassVar

import pytest

from nsbroker.drivers.thread import run
from nsbroker.names.files.host_conf import HostConf
from nsbroker.names.getnameinfo import getnameinfo
from support.names.fake_dns import Blocking, Network, Server, silent

ZONE = {"1.0.0.10.in-addr.arpa": "PTR www.corp.test.", "2.0.0.10.in-addr.arpa": "TXT hello"}
HOSTS = "10.0.0.5 five.corp.test five\n2001:db8::5 six\n"


def network(**server: Any) -> Network:
    return Network({"10.0.0.53": Server(ZONE, **server)}, "search corp.test test\n", HOSTS)


def names(sockaddr: tuple[Any, ...], flags: int = 0, on: Network | None = None) -> tuple[str, str]:
    return run(getnameinfo(on or network(), sockaddr, flags))


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


ADDRESSES = (
    ("1.2.3.4", 80), ("::1", 22), ("fe80::1", 22, 0, 1), ("fe80::1", 22, 0, 77), ("2001:db8::1", 53, 0, 1),
    ("1.2.3.4", 80, 0, 0), ("name", 1), ("fe80::1%lo", 1), ("fe80::1%lo", 1, 0, 1), ("1.2.3.4", "x"), ("1.2.3.4",),
    (1, 2), ["a", 1], ("::1", 80, 1 << 20, 0), ("::ffff:1.2.3.4", 12345), ("127.0.0.1", 70000), ("127.1", -5), ("", 1),
    ("::1", 1, 2, 3, 4), ("::1", 80, 5, 0), ("::1", 80, 0, "x"), ("1.2.3.4", 53), ("ff02::1", 1, 0, 1),
    ("fe80::1", 1, 0, 1 << 31), ("fe80::1", 1, 0, 1 << 40 | 1),
)  # fmt: skip


@pytest.mark.filterwarnings("ignore:integer value out of range:DeprecationWarning")
def test_numeric_results_are_the_socket_modules() -> None:
    """Python 3.15 warns that a later version will refuse a scope of more than 32 bits."""
    resolver = Blocking(socket.socket, _NoFiles)
    for sockaddr, flags in product(ADDRESSES, range(1, 512, 2)):
        ours = outcome(resolver.getnameinfo, sockaddr, flags)
        assert ours == outcome(socket.getnameinfo, sockaddr, flags), (sockaddr, flags)


def test_name_comes_from_the_hosts_file_before_dns() -> None:
    quiet = network()
    assert names(("10.0.0.5", 80), on=quiet) == ("five.corp.test", "http")
    assert names(("2001:db8::5", 80, 0, 0), on=quiet) == ("six", "http")
    assert quiet.asked == []


def test_name_comes_from_dns() -> None:
    asking = network()
    assert names(("10.0.0.1", 53), on=asking) == ("www.corp.test", "domain")
    assert asking.questions() == ["PTR 1.0.0.10.in-addr.arpa"]


@pytest.mark.parametrize("host", ["10.0.0.2", "10.0.0.3"])
def test_address_without_a_name_stays_a_number(host: str) -> None:
    assert names((host, 4)) == (host, "4")
    with pytest.raises(socket.gaierror) as raised:
        names((host, 4), socket.NI_NAMEREQD)
    assert raised.value.errno == socket.EAI_NONAME


def test_own_domain_is_left_out_on_request() -> None:
    """It is the domain that the namespace has for localhost or for this machine."""
    mine = Network({}, "", HOSTS + "127.0.0.1 localhost.corp.test localhost\n")
    assert names(("10.0.0.5", 80), socket.NI_NOFQDN, on=mine)[0] == "five"
    assert names(("10.0.0.5", 80), 0, on=mine)[0] == "five.corp.test"
    assert names(("2001:db8::5", 80, 0, 0), socket.NI_NOFQDN, on=mine)[0] == "six"


def test_name_from_a_name_server_that_is_no_host_name_is_left_out() -> None:
    """It could hold anything, for example a terminal's control characters."""
    odd = Network({"10.0.0.53": Server({"9.0.0.10.in-addr.arpa": "PTR -odd.test."})})
    assert names(("10.0.0.9", 80), on=odd)[0] == "10.0.0.9"


def test_any_address_is_no_question() -> None:
    quiet = network()
    assert names(("::", 80, 0, 0), on=quiet)[0] == "::"
    assert quiet.asked == []


def test_ends_of_host_conf_are_cut_off() -> None:
    mine = network()
    mine.files = mine.files._replace(host_conf=HostConf(trim=(".corp.TEST",)))
    assert names(("10.0.0.5", 80), on=mine)[0] == "five"


def test_silent_servers_are_an_error_as_in_the_socket_module() -> None:
    with pytest.raises(socket.gaierror) as raised:
        names(("10.0.0.1", 80), on=network(error=silent()))
    assert raised.value.errno == socket.EAI_AGAIN


def test_interface_is_named_inside_the_namespace() -> None:
    assert names(("fe80::1", 80, 0, 7), socket.NI_NUMERICHOST)[0] == "fe80::1%eth0"
    assert names(("fe80::1", 80, 0, 8), socket.NI_NUMERICHOST)[0] == "fe80::1%8"
    assert names(("2001:db8::1", 80, 0, 7), socket.NI_NUMERICHOST)[0] == "2001:db8::1%7"


def test_services_of_udp_have_their_own_names() -> None:
    mine, flags = network(), socket.NI_NUMERICHOST
    mine.files = mine.files._replace(service_of=lambda port, protocol: f"{protocol}{port}")
    assert names(("10.0.0.1", 9), flags, on=mine)[1] == "tcp9"
    assert names(("10.0.0.1", 9), flags | socket.NI_DGRAM, on=mine)[1] == "udp9"
    assert names(("10.0.0.1", 9), flags | socket.NI_NUMERICSERV, on=mine)[1] == "9"
