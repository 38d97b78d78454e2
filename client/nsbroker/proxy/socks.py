"""SOCKS5 without authentication, the server's side, sans-IO. Source: RFC 1928."""

from __future__ import annotations

import socket
import struct

from .handshake import RefusedError, Target, checked_host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .handshake import Body, Failure

VERSION, OLD_VERSION = 5, 4
SUCCEEDED, GENERAL_FAILURE, NOT_ALLOWED, NETWORK_UNREACHABLE, HOST_UNREACHABLE, CONNECTION_REFUSED = range(6)
COMMAND_NOT_SUPPORTED, ADDRESS_NOT_SUPPORTED = 7, 8

_NO_AUTHENTICATION, _NO_METHOD = 0, 0xFF
_COMMANDS = {1: "CONNECT", 2: "BIND", 3: "UDP ASSOCIATE"}
_CONNECT = 1
_IPV4, _NAME, _IPV6 = 1, 3, 4
_ADDRESS_BYTES = {_IPV4: 4, _IPV6: 16}
_PORT = struct.Struct("!H")
_HEADER_BYTES = 4
_REJECTED_BY_SOCKS4 = bytes((0, 91)) + bytes(6)


class Socks5:
    """One client. See `Handshake`."""

    body: Body | None = None

    def __init__(self) -> None:
        self.target: Target | None = None
        self.first = b""
        self._buffer = b""
        self._has_method = False

    def receive(self, data: bytes) -> bytes:
        """See `Handshake.receive`. The whole is at most 519 bytes long, and then bytes for the target."""
        self._buffer += data
        if self._buffer[0] == OLD_VERSION:
            raise RefusedError(_REJECTED_BY_SOCKS4, "a client speaks SOCKS4, and the proxy only SOCKS5: use socks5h://")
        answer = b"" if self._has_method else self._take_methods()
        if self._has_method and self._buffer:
            try:
                self._take_request()
            except RefusedError as refused:
                refused.answer = answer + refused.answer  # a client may not wait for the first one
                raise
        return answer

    def take_first(self) -> bytes:
        """See `Handshake.take_first`."""
        first, self.first, self._buffer = self.first, b"", b""
        return first

    def success(self, local: tuple[Any, ...]) -> bytes:
        """See `Handshake.success`."""
        return reply(SUCCEEDED, str(local[0]), int(local[1]))

    def refusal(self, failure: Failure) -> bytes:
        """See `Handshake.refusal`."""
        return reply(failure.socks)

    def _take_methods(self) -> bytes:
        if len(self._buffer) < 2 or len(self._buffer) < 2 + self._buffer[1]:
            return b""
        end = 2 + self._buffer[1]
        if _NO_AUTHENTICATION not in self._buffer[2:end]:
            text = "a client insists on a password, and the proxy has none: configure no user for it"
            raise RefusedError(bytes((VERSION, _NO_METHOD)), text)
        self._has_method = True
        self._buffer = self._buffer[end:]
        return bytes((VERSION, _NO_AUTHENTICATION))

    def _take_request(self) -> None:
        if len(self._buffer) <= _HEADER_BYTES:
            return
        version, command, _, kind = self._buffer[:_HEADER_BYTES]
        if version != VERSION:
            raise RefusedError(reply(GENERAL_FAILURE), f"a client sent a SOCKS request of version {version}")
        if command != _CONNECT:
            name = _COMMANDS.get(command, f"command {command}")
            text = f"a client asks for {name}, and the proxy only connects: for UDP and servers, use run or listen"
            raise RefusedError(reply(COMMAND_NOT_SUPPORTED), text)
        start, length = _HEADER_BYTES, _ADDRESS_BYTES.get(kind, 0)
        if kind == _NAME:
            start, length = _HEADER_BYTES + 1, self._buffer[_HEADER_BYTES]
        elif not length:
            raise RefusedError(reply(ADDRESS_NOT_SUPPORTED), f"a client sent a SOCKS address of type {kind}")
        end = start + length
        if len(self._buffer) < end + _PORT.size:
            return
        (port,) = _PORT.unpack_from(self._buffer, end)
        self.first = self._buffer[end + _PORT.size :]
        self.target = Target(_host(kind, self._buffer[start:end]), port)


def _host(kind: int, address: bytes) -> str:
    if kind != _NAME:
        return socket.inet_ntop(socket.AF_INET if kind == _IPV4 else socket.AF_INET6, address)
    try:
        return checked_host(address)
    except ValueError as error:
        raise RefusedError(reply(GENERAL_FAILURE), f"a client sent a wrong name by SOCKS: {error}") from error


def reply(code: int, host: str = "0.0.0.0", port: int = 0) -> bytes:
    """Return a reply with the address that the connection is bound to."""
    is_ipv6 = ":" in host
    address = socket.inet_pton(socket.AF_INET6 if is_ipv6 else socket.AF_INET, host.partition("%")[0])
    return bytes((VERSION, code, 0, _IPV6 if is_ipv6 else _IPV4)) + address + _PORT.pack(port)
