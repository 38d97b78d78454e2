"""Requests of the control socket are few short words, and nothing else is one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsbrokerd.control.packets import (
    MAX_REQUEST_BYTES,
    RELOAD,
    SOCKETS,
    STATUS,
    Request,
    decode_reply,
    decode_request,
    encode_reply,
    encode_request,
)

REQUESTS = [Request(STATUS), Request(RELOAD), Request(SOCKETS, 0), Request(SOCKETS, 10**18 - 1)]


@pytest.mark.parametrize("request_", REQUESTS)
def test_request_arrives_as_it_was_sent(request_: Request) -> None:
    packet = encode_request(request_)
    assert len(packet) <= MAX_REQUEST_BYTES
    assert decode_request(packet) == request_


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"stop",
        b"status ",
        b"status 1",
        b" status",
        b"status\n",
        b"sockets",
        b"sockets -1",
        b"sockets 1 2",
        b"sockets 1e3",
        b"sockets \xd9\xa1",
        b"sockets " + b"0" * 24,
        b"reload reload",
    ],
)
def test_anything_else_is_no_request(packet: bytes) -> None:
    assert decode_request(packet) is None


@given(st.binary(max_size=64))
def test_no_packet_is_too_odd(packet: bytes) -> None:
    decoded = decode_request(packet)
    assert decoded is None or decode_request(encode_request(decoded)) == decoded


def test_reply_arrives_as_it_was_sent() -> None:
    assert decode_reply(encode_reply({"a": [1, None, "ü\x1b"]})) == {"a": [1, None, "ü\x1b"]}


@pytest.mark.parametrize("packet", [b"", b"[]", b"{", b"\xff"])
def test_what_is_no_reply_is_an_error(packet: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # the kinds of json and of the codec
        decode_reply(packet)
