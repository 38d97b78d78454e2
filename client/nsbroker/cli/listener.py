"""What `-l` asks for, as a socket spec: ADDR:PORT, ADDR:PORT/KIND, or @NAME for an abstract Unix socket. Pure."""

from __future__ import annotations

import os
import socket

from ..place.listening import bind_address, server_options
from ..wire.limits import MAX_ABSTRACT_BYTES
from ..wire.messages import SocketSpec
from .endpoint import listen_address
from .failure import usage_error
from .kinds import PORT_KINDS

_UNIX_TYPES = {"tcp": int(socket.SOCK_STREAM), "udp": int(socket.SOCK_DGRAM)}
_DGRAM = int(socket.SOCK_DGRAM)
_AF_UNIX = int(socket.AF_UNIX)
_SOL_SOCKET = int(socket.SOL_SOCKET)


def listener_spec(namespace: str, text: str, kind: str, family: int | None, backlog: int) -> SocketSpec:
    """Read one `-l`; `kind` and `family` are what it is where it does not say so itself.

    A Unix socket is not made to listen: the broker leaves that to the client.

    Raises:
        FailureError: it is not understood.
        OSError: its host is a name.
    """
    if text.startswith("@"):
        return _abstract(namespace, text, kind, family)
    if text.startswith(("/", "./")):
        raise usage_error(f"-l {text}: a path belongs to no network namespace; name an abstract socket, @NAME")
    address_text, slash, own_kind = text.partition("/")
    kind = own_kind if slash else kind
    if kind not in PORT_KINDS:
        raise usage_error(f"{kind!r} is no kind of socket to listen with: {', '.join(PORT_KINDS)}")
    kind_type, protocol = PORT_KINDS[kind]
    family, address = listen_address(address_text, family)
    bind, options = bind_address(address, family), server_options(family)
    if kind_type == _DGRAM:
        # Not SO_REUSEADDR: for UDP it lets another user's socket take the packets.
        options = tuple(option for option in options if option[0] != _SOL_SOCKET)
        return SocketSpec(namespace, family, kind_type, protocol, bind, None, options)
    return SocketSpec(namespace, family, kind_type, protocol, bind, backlog, options)


def _abstract(namespace: str, text: str, kind: str, family: int | None) -> SocketSpec:
    name = os.fsencode(text[1:])
    if not 1 <= len(name) <= MAX_ABSTRACT_BYTES:
        raise usage_error(f"-l {text}: an abstract name has 1 to {MAX_ABSTRACT_BYTES} bytes after the @")
    if kind not in _UNIX_TYPES or family is not None:
        raise usage_error(f"-l {text}: a Unix socket is a stream, or datagrams with -u, and of neither -4 nor -6")
    return SocketSpec(namespace, _AF_UNIX, _UNIX_TYPES[kind], 0, name)
