"""gethostbyname and gethostbyaddr return the same as those of the socket module."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from nsbroker.drivers.thread import run
from nsbroker.names.gethostby import gethostbyaddr, gethostbyname, gethostbyname_ex
from support.names.fake_dns import Network, Server, silent

ZONE = {
    "www.test": "A 10.0.0.1",
    "alias.test": "CNAME middle.test.",
    "middle.test": "CNAME www.test.",
    "1.0.0.10.in-addr.arpa": "PTR www.test.",
    "3.0.0.10.in-addr.arpa": "TXT hello",
    "4.0.0.10.in-addr.arpa": "PTR -odd.test.",
    "dangling.test": "CNAME x.elsewhere.",
}
HOSTS = "10.73.0.98 web web.corp.test\n127.0.0.1 localhost\n"


def network(**server: Any) -> Network:
    return Network({"10.0.0.53": Server(ZONE, **server)}, "search test\n", HOSTS)


def test_names_without_a_look_up_are_those_of_the_socket_module() -> None:
    quiet = network()
    assert [run(gethostbyname(quiet, name)) for name in ("", "<broadcast>", "127.1", b"10.0.0.1")] == [
        "0.0.0.0",
        "255.255.255.255",
        "127.0.0.1",
        "10.0.0.1",
    ]
    assert run(gethostbyname_ex(quiet, "127.1")) == ("127.1", [], ["127.0.0.1"])
    assert quiet.asked == []


def test_host_has_its_canonical_name_and_aliases() -> None:
    assert run(gethostbyname_ex(network(), "web.corp.test")) == ("web", ["web.corp.test"], ["10.73.0.98"])
    found = run(gethostbyname_ex(network(), "alias"))
    assert found == ("www.test", ["alias.test", "middle.test"], ["10.0.0.1"])
    assert run(gethostbyaddr(network(), "web")) == ("web", ["web.corp.test"], ["10.73.0.98"])
    assert run(gethostbyaddr(network(), "10.0.0.1")) == ("www.test", [], ["10.0.0.1"])


@pytest.mark.parametrize(
    ("address", "code", "text"),
    [("10.0.0.9", 1, "Unknown host"), ("10.0.0.3", 4, "No address associated with name"),
     ("10.0.0.4", 3, "Unknown server error"), ("::", 1, "Unknown host"), ("<broadcast>", 1, "Unknown host")],
)  # fmt: skip
def test_address_without_a_name_is_an_herror(address: str, code: int, text: str) -> None:
    with pytest.raises(socket.herror) as raised:
        run(gethostbyaddr(network(), address))
    assert raised.value.args == (code, text)


def test_silent_servers_are_an_herror_that_says_why() -> None:
    with pytest.raises(socket.herror) as raised:
        run(gethostbyaddr(network(error=silent()), "10.0.0.9"))
    assert raised.value.args == (2, "Host name lookup failure")
    assert raised.value.__notes__ == ["name server 10.0.0.53 of /etc/resolv.conf: no answer in time"]


def test_name_that_is_not_found_is_a_gaierror() -> None:
    for function in (gethostbyname, gethostbyname_ex, gethostbyaddr):
        with pytest.raises(socket.gaierror, match="Name or service not known"):
            run(function(network(), "nope"))


def test_answer_of_no_use_has_the_code_of_each_function() -> None:
    for function in (gethostbyname, gethostbyname_ex):
        with pytest.raises(socket.gaierror, match="No address associated with hostname"):
            run(function(network(), "dangling"))
    with pytest.raises(socket.gaierror, match="Name or service not known"):
        run(gethostbyaddr(network(), "dangling"))


def test_text_that_only_the_first_of_two_look_ups_takes_for_an_address_is_an_herror() -> None:
    """The socket module looks a name up by getaddrinfo(3), and then by gethostbyname(3)."""
    for name in ("0x7f.1", "<broadcast>", ""):
        with pytest.raises(socket.herror, match="Unknown host"):
            run(gethostbyname_ex(network(), name))


def test_mapped_address_has_a_name_of_another_family() -> None:
    with pytest.raises(OSError, match="Address family not supported"):
        run(gethostbyaddr(network(), "::ffff:10.0.0.1"))


def test_empty_name_is_no_address() -> None:
    with pytest.raises(OSError, match="wildcard resolved to multiple address"):
        run(gethostbyaddr(network(), ""))


@pytest.mark.parametrize("name", [None, 5, "a\0b", b"a\0b"])
def test_arguments_of_wrong_types_are_refused_like_the_socket_modules(name: object) -> None:
    for function in (gethostbyname, gethostbyname_ex, gethostbyaddr):
        with pytest.raises(TypeError, match=rf"{function.__name__}\(\) argument 1 must be"):
            run(function(network(), name))
