"""getnameinfo returns the same as `socket.getnameinfo`."""

from __future__ import annotations

import socket
from itertools import product
from typing import Any

import pytest

from nsbroker.drivers.thread import run
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


def test_numeric_results_are_the_socket_modules() -> None:
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
    assert names(("10.0.0.5", 80), socket.NI_NOFQDN)[0] == "five"


def test_silent_servers_are_an_error_as_in_the_socket_module() -> None:
    with pytest.raises(socket.gaierror) as raised:
        names(("10.0.0.1", 80), on=network(error=silent()))
    assert raised.value.errno == socket.EAI_AGAIN


def test_interface_is_named_inside_the_namespace() -> None:
    assert names(("fe80::1", 80, 0, 7), socket.NI_NUMERICHOST)[0] == "fe80::1%eth0"
    assert names(("fe80::1", 80, 0, 8), socket.NI_NUMERICHOST)[0] == "fe80::1%8"
    assert names(("2001:db8::1", 80, 0, 7), socket.NI_NUMERICHOST)[0] == "2001:db8::1%7"


def test_services_of_udp_have_their_own_names() -> None:
    def by_port(port: int, proto: str) -> str:
        return f"{proto}{port}"

    flags = socket.NI_NUMERICHOST
    assert run(getnameinfo(network(), ("10.0.0.1", 9), flags, by_port=by_port))[1] == "tcp9"
    assert run(getnameinfo(network(), ("10.0.0.1", 9), flags | socket.NI_DGRAM, by_port=by_port))[1] == "udp9"
    assert run(getnameinfo(network(), ("10.0.0.1", 9), flags | socket.NI_NUMERICSERV, by_port=by_port))[1] == "9"
