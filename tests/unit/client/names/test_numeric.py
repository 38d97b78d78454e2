"""Addresses are made numeric without asking anyone."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsbroker.names.numeric import numeric_address, numeric_host, numeric_port, numeric_stream
from nsbroker.place.listening import bind_address, listener_spec, listener_specs

V4, V6 = socket.AF_INET, socket.AF_INET6


class FakeSocket:
    """Enough of a socket to be asked for its family."""

    def __init__(self, family: int) -> None:
        self.family = family


@pytest.mark.parametrize(
    ("host", "family", "expected"),
    [
        ("", V4, "0.0.0.0"),
        ("", V6, "::"),
        ("<broadcast>", V4, "255.255.255.255"),
        ("10.1.2.3", V4, "10.1.2.3"),
        ("fe80::1", V6, "fe80::1"),
        ("::ffff:10.1.2.3", V6, "::ffff:10.1.2.3"),
        ("127.1", V4, "127.0.0.1"),
        ("0x7f000001", V4, "127.0.0.1"),
    ],
)
def test_host_without_a_look_up(host: str, family: int, expected: str) -> None:
    assert numeric_host(host, family) == expected


@pytest.mark.parametrize(
    "host", ["localhost", "example.com", "a", "face", "1.2.3.4.5", "10.0.0.1 x", "<broadcast", "::1::", "\0", "ü"]
)
@pytest.mark.parametrize("family", [V4, V6])
def test_name_is_refused_with_the_usual_code(host: str, family: int) -> None:
    with pytest.raises(socket.gaierror) as caught:
        numeric_host(host, family)
    assert caught.value.errno == socket.EAI_NONAME


def test_address_of_the_other_family_is_refused() -> None:
    for host, family in (("10.0.0.1", V6), ("::1", V4)):
        with pytest.raises(socket.gaierror, match="Address family"):
            numeric_host(host, family)


@given(st.text(), st.sampled_from([V4, V6]))
def test_any_text_is_numeric_afterwards_or_refused(host: str, family: int) -> None:
    """Exactly the texts of inet_pton(3) pass, so that the socket module has nothing to look up."""
    try:
        answer = numeric_host(host, family)
    except socket.gaierror:
        return
    socket.inet_pton(family, answer)


@given(
    st.one_of(
        st.text(), st.binary(), st.none(), st.tuples(st.one_of(st.text(), st.binary(), st.integers()), st.integers())
    )
)
def test_any_address_has_a_numeric_host_afterwards_or_no_host(address: object) -> None:
    """Or it is something that the socket module refuses before it would look anything up."""
    try:
        answer = numeric_address(FakeSocket(V4), address)  # type: ignore[arg-type]
    except socket.gaierror:
        return
    if isinstance(answer, tuple) and isinstance(answer[0], str | bytes | bytearray):
        assert isinstance(answer[0], str)
        socket.inet_pton(V4, answer[0])


def test_scope_given_as_a_number_becomes_the_fourth_item() -> None:
    sock = FakeSocket(V6)
    assert numeric_address(sock, ("fe80::1%7", 80)) == ("fe80::1", 80, 0, 7)  # type: ignore[arg-type]
    assert numeric_address(sock, ("fe80::1%7", 80, 5, 3)) == ("fe80::1", 80, 5, 3)  # type: ignore[arg-type]
    assert numeric_address(sock, ("fe80::1", 80, 5)) == ("fe80::1", 80, 5)  # type: ignore[arg-type]


def test_scope_of_too_many_digits_is_no_interface() -> None:
    """It is no ValueError of int()."""
    with socket.socket(V6, socket.SOCK_DGRAM) as sock, pytest.raises(OSError, match="is the name of no interface"):
        numeric_address(sock, (f"fe80::1%{'9' * 5000}", 80))


def test_other_families_are_left_alone() -> None:
    assert numeric_address(FakeSocket(socket.AF_UNIX), "/run/x") == "/run/x"  # type: ignore[arg-type]
    assert numeric_address(FakeSocket(socket.AF_PACKET), ("eth0", 3)) == ("eth0", 3)  # type: ignore[arg-type]


@pytest.mark.parametrize("family", [0, V4, V6])
@pytest.mark.parametrize("port", [0, 80, 65535, 65536, -1, "80", "http", None, True])
@pytest.mark.parametrize(
    "host", ["127.0.0.1", "::1", "::ffff:1.2.3.4", "fe80::1%1", "01.2.3.4", "127.1", "", "localhost", None]
)
def test_stream_address_is_what_getaddrinfo_finds_or_left_to_it(host: str | None, port: object, family: int) -> None:
    """Never a name or a scope, which are to be looked up in the namespace."""
    found = numeric_stream(host, port, family)
    if host in ("127.0.0.1", "::1", "::ffff:1.2.3.4") and type(port) is int and port in (0, 80, 65535):
        fits = family in (0, V6 if ":" in host else V4)
        expected = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM) if fits else None
        assert found == expected
    else:
        assert found is None


def test_port_is_a_number() -> None:
    assert [numeric_port(port) for port in (80, "80", b"80", None)] == [80, 80, 80, 0]
    with pytest.raises(socket.gaierror, match="services are not looked up"):
        numeric_port("http")
    with pytest.raises(OverflowError):
        numeric_port(65536)


def test_listener_spec_has_the_socket_modules_defaults() -> None:
    spec = listener_spec("blue", ("", 80))
    assert (spec.family, spec.type, spec.bind, spec.listen) == (V4, socket.SOCK_STREAM, ("0.0.0.0", 80), 128)
    assert spec.options == ((socket.SOL_SOCKET, socket.SO_REUSEADDR, 1),)
    spec = listener_spec("blue", ("::", 80), backlog=-1)
    assert (spec.family, spec.bind, spec.listen) == (V6, ("::", 80, 0, 0), 0)
    assert (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1) in spec.options


ADDRESSES = [("", 80), ("::", 80), ("::", 81), ("", 65535), ("::", "82"), ("fe80::1%3", 80), ("fe80::1%3", 81)]
ADDRESSES += [("fe80::1%eth0", 80), ("fe80::1%eth0", 81), ("fe80::1", 80, 0, 4), ("localhost", 0), ("localhost", True)]


@given(st.lists(st.tuples(st.sampled_from(["blue", "red", 3]), st.sampled_from(ADDRESSES))), st.booleans())
def test_many_listeners_are_as_each_alone(
    listeners: list[tuple[str | int, tuple[object, ...]]], reuse_port: bool
) -> None:
    """Whichever came before with the same host."""
    alone = [listener_spec(namespace, address, None, 7, reuse_port=reuse_port) for namespace, address in listeners]
    together = listener_specs(listeners, None, 7, reuse_port=reuse_port)
    assert together == alone
    assert [list(map(type, spec.bind or ())) for spec in together] == [list(map(type, one.bind or ())) for one in alone]


@pytest.mark.parametrize("address", [("::", 65536), ("::", -1), ("::", "http"), ("::", 80.0), (None, 80), (["::"], 80)])
def test_wrong_address_after_a_right_one_is_refused(address: tuple[object, ...]) -> None:
    with pytest.raises((OverflowError, ValueError, socket.gaierror)):
        listener_specs([("blue", ("::", 80)), ("blue", address)])


@pytest.mark.parametrize("address", [(), ("",), (None, 80), (b"", 80)])
def test_listener_address_must_be_host_and_port(address: tuple[object, ...]) -> None:
    with pytest.raises(ValueError, match="an address is"):
        bind_address(address, V4)


def test_listener_scope_is_a_number_or_the_name_of_an_interface() -> None:
    """The name is looked up later, in the namespace."""
    assert bind_address(("fe80::1%3", 80), V6) == ("fe80::1", 80, 0, 3)
    assert bind_address(("fe80::1", 80, 1, 2), V6) == ("fe80::1", 80, 1, 2)
    assert bind_address(("fe80::1%eth0", 80), V6) == ("fe80::1%eth0", 80, 0, 0)
    assert bind_address(("fe80::1%eth0", 80, 1, 2), V6) == ("fe80::1", 80, 1, 2)


def test_listener_host_may_be_a_name_but_no_address_of_the_other_family() -> None:
    """The name is looked up later, in the namespace."""
    assert bind_address(("localhost", 80), V4) == ("localhost", 80)
    assert bind_address(("localhost", 80), V6) == ("localhost", 80, 0, 0)
    with pytest.raises(socket.gaierror, match="Address family"):
        bind_address(("::1", 80), V4)
