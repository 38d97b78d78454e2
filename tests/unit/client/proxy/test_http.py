"""HTTP to the proxy, byte for byte: what is a tunnel, what is passed on and how, and what is refused."""

from __future__ import annotations

import pytest

from nsbroker.proxy.handshake import Failure, RefusedError, Target
from nsbroker.proxy.http import MAX_HEAD_BYTES, Http


def taken(data: bytes) -> Http:
    client = Http()
    assert client.receive(data) == b""
    return client


def refused(data: bytes) -> tuple[int, str]:
    """The status of the answer, and the line. The answer's body has the line, too."""
    with pytest.raises(RefusedError) as caught:
        Http().receive(data)
    head, _, body = caught.value.answer.partition(b"\r\n\r\n")
    assert body.decode() == f"nsbroker-get: {caught.value}\n"
    assert f"Content-Length: {len(body)}".encode() in head
    assert b"Connection: close" in head
    return int(head.split()[1]), str(caught.value)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("www.example.org:443", Target("www.example.org", 443)),
        ("10.0.0.1:1", Target("10.0.0.1", 1)),
        ("[2001:db8::1]:65535", Target("2001:db8::1", 65535)),
        ("[fe80::1%eth0]:80", Target("fe80::1%eth0", 80)),
    ],
)
def test_connect_is_a_tunnel(target: str, expected: Target) -> None:
    client = taken(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n\x16\x03early".encode())
    assert (client.target, client.first, client.body) == (expected, b"\x16\x03early", None)
    assert client.success(("10.0.0.9", 1)) == b"HTTP/1.1 200 Connection established\r\n\r\n"


def test_head_can_come_byte_by_byte() -> None:
    client = Http()
    for byte in b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n":
        assert client.target is None
        client.receive(bytes((byte,)))
    assert client.target == Target("a", 1)


@pytest.mark.parametrize(
    "target",
    ["a", "a:", "a:0", "a:65536", "a:-1", "a:1:1", ":1", "[::1]", "[::1]1:1", "u@a:1", "a:999999999", "a:x"],
)
def test_connect_needs_host_and_port(target: str) -> None:
    status, text = refused(f"CONNECT {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert status == 400
    assert text.startswith("a client sent a wrong address, ")


@pytest.mark.parametrize("field", ["Content-Length: 5", "Transfer-Encoding: chunked"])
def test_connect_has_no_body(field: str) -> None:
    """Else its bytes could be taken for those of the tunnel, or the other way round."""
    assert refused(f"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n".encode())[0] == 400


@pytest.mark.parametrize(
    ("address", "target", "path", "host"),
    [
        ("http://a/x?y", Target("a", 80), "/x?y", "a"),
        ("http://a", Target("a", 80), "/", "a"),
        ("HTTP://a:8080?q", Target("a", 8080), "/?q", "a:8080"),
        ("http://[::1]:81/", Target("::1", 81), "/", "[::1]:81"),
    ],
)
def test_plain_request_is_passed_on_as_to_a_server(address: str, target: Target, path: str, host: str) -> None:
    """The field Host is that of the address, whatever the client said."""
    client = taken(f"GET {address} HTTP/1.1\r\nHost: other\r\nAccept: */*\r\n\r\n".encode())
    assert client.target == target
    assert client.first == f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\nConnection: close\r\n\r\n".encode()
    assert client.body is not None
    assert client.body.is_complete
    assert client.success(("10.0.0.9", 1)) == b""


def test_fields_for_the_proxy_are_not_passed_on() -> None:
    """Also those that Connection names, but it can't remove the length of the body."""
    client = taken(
        b"POST http://a/ HTTP/1.1\r\nHost: a\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic eDp5\r\n"
        b"Connection: X-Secret, content-length\r\nX-Secret: 1\r\nUpgrade: h2c\r\nTE: trailers\r\nX-Kept: 2\r\n"
        b"Content-Length: 3\r\n\r\nabc"
    )
    assert client.first == (
        b"POST / HTTP/1.1\r\nHost: a\r\nX-Kept: 2\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"
    )


def test_second_request_is_never_passed_on() -> None:
    """It could be for another server."""
    client = taken(b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\nGET http://b/ HTTP/1.1\r\nHost: b\r\n\r\n")
    assert client.first.count(b"GET") == 1
    assert client.body is not None
    assert client.body.is_complete


def test_body_is_passed_on_as_it_comes() -> None:
    client = taken(b"PUT http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc")
    assert client.body is not None
    assert client.first.endswith(b"\r\n\r\n3\r\nabc\r\n")
    assert client.body.forward(b"\r\n1\r\nd\r\n") == b"1\r\nd\r\n"
    assert not client.body.is_complete
    assert client.body.forward(b"0\r\n\r\nGET /") == b"0\r\n\r\n"
    assert client.body.is_complete


def test_body_that_is_no_http_ends_the_connection() -> None:
    client = taken(b"PUT http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert client.body is not None
    with pytest.raises(ConnectionError, match="no valid HTTP"):
        client.body.forward(b"zz\r\n")


def test_client_of_http_1_0_gets_no_chunks() -> None:
    """Its server is told that it speaks 1.0."""
    assert taken(b"GET http://a/ HTTP/1.0\r\n\r\n").first.startswith(b"GET / HTTP/1.0\r\nHost: a\r\n")
    assert refused(b"PUT http://a/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n")[0] == 400


@pytest.mark.parametrize("target", ["/", "*", "/http://a/"])
def test_request_to_the_proxy_itself_is_refused(target: str) -> None:
    """A page of a browser can send such requests. No byte of them reaches the namespace."""
    method = "OPTIONS" if target == "*" else "GET"
    status, text = refused(f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:1080\r\n\r\n".encode())
    assert status == 400
    assert text.startswith("this is a proxy: configure it in your program")


@pytest.mark.parametrize("scheme", ["https", "ftp", "ws"])
def test_other_schemes_need_connect(scheme: str) -> None:
    status, text = refused(f"GET {scheme}://a/ HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert status == 501
    assert text == f"a client asks for a {scheme} address in plain HTTP, which only CONNECT can reach"


@pytest.mark.parametrize("authority", ["", "user:word@a", ":80", "a:b", "a b", "[::1", "a]"])
def test_plain_request_needs_a_host(authority: str) -> None:
    assert refused(f"GET http://{authority}/ HTTP/1.1\r\nHost: a\r\n\r\n".encode())[0] == 400


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"NONSENSE\r\n\r\n", 400),
        (b"GET http://a/ HTTP/1.1\r\n\r\n", 400),
        (b"GET http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET http://a/ HTTP/1.1\r\nX: " + b"x" * (MAX_HEAD_BYTES + 1), 431),
    ],
)
def test_no_valid_http_is_refused(data: bytes, status: int) -> None:
    assert refused(data)[0] == status


def test_failure_is_told_with_its_reason() -> None:
    failure = Failure(5, 502, "can't connect to a port 1: Connection refused")
    answer = taken(b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n").refusal(failure)
    assert answer.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert answer.endswith(b"\r\n\r\nnsbroker-get: can't connect to a port 1: Connection refused\n")
    assert taken(b"HEAD http://a/ HTTP/1.1\r\nHost: a\r\n\r\n").refusal(failure).endswith(b"\r\n\r\n")
