"""SOCKS5, byte for byte: the request may come in any pieces, and wrong ones get the reply of RFC 1928."""

from __future__ import annotations

import itertools
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsbroker.proxy.handshake import Failure, RefusedError, Target
from nsbroker.proxy.socks import Socks5, reply

HELLO = b"\x05\x01\x00"
CONNECT = b"\x05\x01\x00"
NAME = CONNECT + b"\x03\x0bexample.org\x00\x50"
REQUESTS = {
    NAME: Target("example.org", 80),
    CONNECT + b"\x01" + socket.inet_aton("10.0.0.1") + b"\x01\xbb": Target("10.0.0.1", 443),
    CONNECT + b"\x04" + socket.inet_pton(socket.AF_INET6, "2001:db8::1") + b"\x00\x16": Target("2001:db8::1", 22),
    CONNECT + b"\x03\x0cfe80::1%eth0\x00\x50": Target("fe80::1%eth0", 80),
}


def after_hello() -> Socks5:
    client = Socks5()
    assert client.receive(HELLO) == b"\x05\x00"
    return client


def refused(client: Socks5, data: bytes) -> tuple[bytes, str]:
    with pytest.raises(RefusedError) as caught:
        client.receive(data)
    return caught.value.answer, str(caught.value)


@pytest.mark.parametrize("request_", REQUESTS)
def test_address_or_name_is_the_target(request_: bytes) -> None:
    client = after_hello()
    assert client.receive(request_) == b""
    assert client.target == REQUESTS[request_]
    assert client.first == b""


@given(st.lists(st.integers(0, 40), max_size=8), st.sampled_from(list(REQUESTS)), st.binary(max_size=9))
def test_pieces_do_not_matter_and_early_bytes_are_kept(cuts: list[int], request_: bytes, early: bytes) -> None:
    """The hello can have several methods, and bytes for the target can follow at once."""
    whole = b"\x05\x03\x02\x00\x01" + request_ + early
    client, answers = Socks5(), b""
    places = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    received = b""
    for begin, end in itertools.pairwise(places):
        if client.target is not None:
            received += whole[begin:end]
        else:
            answers += client.receive(whole[begin:end])
    assert answers == b"\x05\x00"
    assert client.target == REQUESTS[request_]
    assert client.first + received == early


def test_answer_has_the_address_of_the_connection() -> None:
    client = Socks5()
    assert client.success(("10.0.0.9", 4097)) == b"\x05\x00\x00\x01\x0a\x00\x00\x09\x10\x01"
    assert client.success(("fe80::1%eth0", 1, 0, 2)) == b"\x05\x00\x00\x04\xfe\x80" + bytes(13) + b"\x01\x00\x01"
    assert client.refusal(Failure(5, 502, "refused")) == b"\x05\x05\x00\x01" + bytes(6)


@pytest.mark.parametrize(("command", "name"), [(2, "BIND"), (3, "UDP ASSOCIATE"), (9, "command 9")])
def test_other_commands_have_their_reply_code(command: int, name: str) -> None:
    answer, text = refused(after_hello(), bytes((5, command, 0)) + NAME[3:])
    assert answer == reply(7)
    assert text.startswith(f"a client asks for {name}, and the proxy only connects: ")


def test_other_address_types_have_their_reply_code() -> None:
    assert refused(after_hello(), CONNECT + b"\x02\x00\x00") == (reply(8), "a client sent a SOCKS address of type 2")


@pytest.mark.parametrize("name", [b"", b"*", b"a b", b"a\0b", b"a/b", b"user@host", b"\xff", b"\x1b[2J", b"[::1]"])
def test_name_that_is_no_host_is_refused(name: bytes) -> None:
    """An empty one and "*" would be the loopback address."""
    answer, text = refused(after_hello(), CONNECT + b"\x03" + bytes((len(name),)) + name + b"\x00\x50")
    assert answer == reply(1)
    assert text.startswith("a client sent a wrong name by SOCKS: ")
    assert text.isprintable()


def test_refusal_comes_after_the_answer_to_a_hello_in_the_same_packet() -> None:
    """Such a client takes the first two bytes for the chosen method."""
    assert refused(Socks5(), b"\x05\x01\x00" + b"\x05\x03\x00\x01" + bytes(6))[0] == b"\x05\x00" + reply(7)


def test_client_that_insists_on_a_password_is_refused() -> None:
    answer, text = refused(Socks5(), b"\x05\x01\x02")
    assert answer == b"\x05\xff"
    assert "configure no user" in text


def test_socks4_is_refused_in_its_own_way() -> None:
    answer, text = refused(Socks5(), b"\x04\x01\x00\x50\x0a\x00\x00\x01\x00")
    assert answer == b"\x00\x5b" + bytes(6)
    assert text.endswith("use socks5h://")


def test_version_within_the_request_must_be_right() -> None:
    assert refused(after_hello(), b"\x06" + NAME[1:])[0] == reply(1)
