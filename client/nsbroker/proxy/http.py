"""HTTP/1 to a proxy, sans-IO: CONNECT, and plain requests for http:// addresses. h11 parses it. Source: RFC 9110, 9112.

A connection carries one plain request. It goes on to the server with `Connection: close`, and the answer comes back
byte for byte. So no bytes of a client are ever taken for a request to another server than the one that they name.
"""

from __future__ import annotations

from http import HTTPStatus

import h11

from .handshake import Failure, RefusedError, Target, checked_host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .handshake import Body

MAX_HEAD_BYTES = 65536
"""Browsers send all their cookies in a head."""

_CONNECT = b"CONNECT"
_SCHEME = b"http://"
_DEFAULT_PORT = 80
_MAX_PORT = 65535
_MAX_PORT_DIGITS = 5
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})
_HOP_BY_HOP = frozenset({
    b"connection", b"host", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
    b"upgrade",
})  # fmt: skip
"""Fields that are for the proxy alone. `Host` is made anew of the address."""
_OUR_LINE, _OLD_LINE = b" HTTP/1.1\r\n", b" HTTP/1.0\r\n"
_OLD_VERSION = b"1.0"
_NO_PROXY_REQUEST = (
    "this is a proxy: configure it in your program as a proxy for HTTP or SOCKS5, for example by curl -x"
)


class Http:
    """One client. See `Handshake`."""

    def __init__(self) -> None:
        self.target: Target | None = None
        self.first = b""
        self.body: Body | None = None
        self._has_no_answer_body = False
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)

    def receive(self, data: bytes) -> bytes:
        """See `Handshake.receive`."""
        try:
            self._connection.receive_data(data)
            event = self._connection.next_event()
        except h11.RemoteProtocolError as error:
            raise self._refused(error.error_status_hint, f"a client sent no valid HTTP: {error}") from error
        if isinstance(event, h11.Request):
            self._has_no_answer_body = event.method == b"HEAD"
            if event.method == _CONNECT:
                self._take_tunnel(event)
            else:
                self._take_plain(event)
        return b""

    def take_first(self) -> bytes:
        """See `Handshake.take_first`."""
        first, self.first = self.first, b""
        return first

    def success(self, local: tuple[Any, ...]) -> bytes:
        """See `Handshake.success`. A plain request is answered by its server."""
        return b"" if self.body else b"HTTP/1.1 200 Connection established\r\n\r\n"

    def refusal(self, failure: Failure) -> bytes:
        """See `Handshake.refusal`."""
        return self._answer(failure.status, failure.text)

    def _take_tunnel(self, request: h11.Request) -> None:
        if any(name == b"transfer-encoding" or (name in _FRAMING and value != b"0") for name, value in request.headers):
            raise self._refused(400, "a client sent CONNECT with a body")
        self.target = self._target(request.target, None)
        self._connection.next_event()  # the end of the request
        self.first = self._connection.trailing_data[0]
        del self._connection  # it keeps these bytes

    def _take_plain(self, request: h11.Request) -> None:
        if request.target[: len(_SCHEME)].lower() != _SCHEME:
            if b"://" in request.target and not request.target.startswith(b"/"):
                scheme = request.target.partition(b":")[0].decode()
                text = f"a client asks for a {scheme} address in plain HTTP, which only CONNECT can reach"
                raise self._refused(501, text)
            raise self._refused(400, _NO_PROXY_REQUEST)
        authority, path = _split(request.target[len(_SCHEME) :])
        target = self._target(authority, _DEFAULT_PORT)
        is_old = request.http_version <= _OLD_VERSION
        if is_old and any(name == b"transfer-encoding" for name, _ in request.headers):
            raise self._refused(400, "a client sent chunks by HTTP/1.0, which has none")
        self.body = body = _PlainBody(self._connection)
        try:
            self.first = body.begin(request, authority, path, is_old=is_old) + body.forward(b"")
        except ConnectionError as error:
            raise self._refused(400, str(error)) from error
        self.target = target

    def _target(self, authority: bytes, default_port: int | None) -> Target:
        host, port = _host_and_port(authority)
        try:
            if not port and default_port is None:
                raise ValueError("it lacks a port")
            return Target(checked_host(host), _port(port) if port else default_port or 0)
        except ValueError as error:
            shown = authority[:300].decode(errors="backslashreplace")
            raise self._refused(400, f"a client sent a wrong address, {shown!r}: {error}") from error

    def _refused(self, status: int, text: str) -> RefusedError:
        return RefusedError(self._answer(status, text), text)

    def _answer(self, status: int, text: str) -> bytes:
        body = f"nsbroker-get: {text}\n".encode(errors="backslashreplace")
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + (b"" if self._has_no_answer_body else body)


class _PlainBody:
    """A plain request on its way to the server. See `Body`."""

    def __init__(self, client: h11.Connection) -> None:
        self.is_complete = False
        self._client = client
        self._server = h11.Connection(h11.CLIENT)

    def begin(self, request: h11.Request, authority: bytes, path: bytes, *, is_old: bool) -> bytes:
        """Return the head for the server.

        Raises:
            ConnectionError: the fields contradict each other.
        """
        headers = [(b"Host", authority), *_end_to_end(request), (b"Connection", b"close")]
        if request.method == b"OPTIONS" and not path:
            path = b"*"
        try:
            passed_on = h11.Request(method=request.method, target=path or b"/", headers=headers)
            head = self._server.send(passed_on) or b""
        except h11.LocalProtocolError as error:
            raise ConnectionError(f"a client sent a request that can't be passed on: {error}") from error
        # A client of HTTP/1.0 must not get chunks, so its server must know.
        return head.replace(_OUR_LINE, _OLD_LINE, 1) if is_old else head

    def forward(self, data: bytes) -> bytes:
        """See `Body.forward`. Bytes behind the end of the request are dropped."""
        parts = []
        try:
            if data:
                self._client.receive_data(data)
            while not self.is_complete:
                event = self._client.next_event()
                if isinstance(event, h11.Data):
                    parts.append(self._server.send(h11.Data(data=event.data)) or b"")
                elif isinstance(event, h11.EndOfMessage):
                    parts.append(self._server.send(h11.EndOfMessage(headers=event.headers)) or b"")
                    self.is_complete = True
                else:
                    break
        except (h11.RemoteProtocolError, h11.LocalProtocolError) as error:
            raise ConnectionError(f"a client sent no valid HTTP: {error}") from error
        return b"".join(parts)


def _end_to_end(request: h11.Request) -> list[tuple[bytes, bytes]]:
    """Return the fields for the server. `Connection` names more that are not, but it can't change the framing."""
    named = b",".join(value for name, value in request.headers if name == b"connection")
    dropped = _HOP_BY_HOP | ({word.strip().lower() for word in named.split(b",")} - _FRAMING)
    return [(name, value) for name, value in request.headers.raw_items() if name.lower() not in dropped]


def _split(address: bytes) -> tuple[bytes, bytes]:
    """Return authority and path with query of an address without its scheme."""
    end = min((at for at in map(address.find, (b"/", b"?", b"#")) if at >= 0), default=len(address))
    authority, path = address[:end], address[end:]
    return authority, path if not path or path.startswith(b"/") else b"/" + path


def _host_and_port(authority: bytes) -> tuple[bytes, bytes | None]:
    """Return host and port of `host`, `host:port`, `[address]` or `[address]:port`."""
    if authority.startswith(b"["):
        host, bracket, rest = authority[1:].partition(b"]")
        if not bracket or rest[:1] not in (b"", b":"):
            return b"", None
        return host, rest[1:] if rest else None
    host, colon, port = authority.partition(b":")
    return host, port if colon else None


def _port(text: bytes) -> int:
    if not text.isdigit() or len(text) > _MAX_PORT_DIGITS or not 0 < int(text) <= _MAX_PORT:
        raise ValueError("a port is a number from 1 to 65535")
    return int(text)
