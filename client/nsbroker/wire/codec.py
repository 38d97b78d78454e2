"""Encodes requests as bytes, and decodes them. Replies are in `replies`."""

from __future__ import annotations

import math
import socket
from functools import lru_cache

from .addresses import decode_also, decode_bind, decode_connect, encode_address
from .bounds import (
    MAX_BACKLOG,
    MAX_NAME_BYTES,
    MAX_OPTION_BYTES,
    MAX_OPTIONS,
    MAX_REQUEST_ID,
    MAX_SENT_FDS,
    MAX_SOCKETS,
    MAX_WAIT_S,
    PROTOCOL_VERSION,
)
from .messages import (
    UNSUPPORTED_VERSION,
    ExplainRequest,
    NamespaceRef,
    NamespacesRequest,
    OpenRequest,
    Option,
    ProtocolError,
    Request,
    ResolverRequest,
    SocketSpec,
)
from .packet import (
    Value,
    expect_bool,
    expect_int,
    expect_list,
    pack,
    pack_value,
    refuse_unknown_keys,
    shorten,
    too_many_sockets,
    unpack,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    Decoded: TypeAlias = SocketSpec | list[SocketSpec]

_OPEN_KEYS = frozenset({"v", "id", "op", "sockets", "wait", "stock"})
_NAMESPACES_KEYS = frozenset({"v", "id", "op", "engines"})
_RESOLVER_KEYS = frozenset({"v", "id", "op", "ns"})
_EXPLAIN_KEYS = frozenset({"v", "id", "op", "socket", "connect"})
_SPEC_KEYS = frozenset({"ns", "family", "type", "proto", "bind", "listen", "options", "also"})
_FD_KEYS = frozenset({"fd"})
_OPEN_HEAD = b"\x84\xa1v\x01\xa2id"
"""The beginning of a map of four keys: {"v": 1, "id": ...}."""
_NO_SET_UP = SocketSpec("", 0, 0)[4:]
_IP = (int(socket.AF_INET), int(socket.AF_INET6))
_SOCK_NONBLOCK = int(socket.SOCK_NONBLOCK)
_INT32 = 2**31
_UINT64_MAX = 2**64 - 1


def encode_request(request: Request) -> bytes:
    """Encode a request without the fields that have their default.

    Raises:
        ProtocolError: the request does not fit a packet.
    """
    if isinstance(request, OpenRequest):
        return _encode_open(request)
    if isinstance(request, NamespacesRequest):
        listing: dict[str, Value] = {"v": PROTOCOL_VERSION, "id": request.request_id, "op": "namespaces"}
        return pack({**listing, "engines": True} if request.engines else listing)
    if isinstance(request, ResolverRequest):
        namespace = _encode_namespace(request.namespace)
        return pack({"v": PROTOCOL_VERSION, "id": request.request_id, "op": "resolver", "ns": namespace})
    explain: dict[str, Value] = {"v": PROTOCOL_VERSION, "id": request.request_id, "op": "explain"}
    explain["socket"] = _encode_spec(request.socket)
    if request.connect is not None:
        explain["connect"] = encode_address(request.connect)
    return pack(explain)


def _encode_open(request: OpenRequest) -> bytes:
    request_id, specs, wait_s, stock, is_grouped = request
    if len(specs) == 1 and not (wait_s or stock or is_grouped) and request_id <= MAX_REQUEST_ID:
        namespace, family, socket_type, proto = specs[0][:4]
        if specs[0][4:] == _NO_SET_UP and type(namespace) is str and len(namespace) <= MAX_NAME_BYTES:
            packet: bytes = _OPEN_HEAD + pack_value(request_id) + _after_id(namespace, family, socket_type, proto)
            return packet
    return _encode_any_open(request)


@lru_cache(64, typed=True)  # 2 and 2.0 are equal, but not on the wire
def _after_id(namespace: str, family: int, socket_type: int, proto: int) -> bytes:
    """Encode a request for one socket without set-up, from the byte after its id on.

    Most programs ask for the same few kinds of sockets again and again.
    """
    request = OpenRequest(0, (SocketSpec(namespace, family, socket_type, proto),))
    return _encode_any_open(request)[len(_OPEN_HEAD) + 1 :]


def _encode_any_open(request: OpenRequest) -> bytes:
    sockets = request.sockets
    message: dict[str, Value] = {
        "v": PROTOCOL_VERSION,
        "id": request.request_id,
        "op": "open",
        "sockets": _encode_groups(sockets) if request.is_grouped else list(map(_encode_spec, sockets)),
    }
    if request.wait_s:
        message["wait"] = request.wait_s
    if request.stock:
        message["stock"] = request.stock
    return pack(message)


def _encode_groups(specs: tuple[SocketSpec, ...]) -> list[Value]:
    from .groups import encode_groups  # a program that starts for one socket does not need it

    return encode_groups(specs, _encode_spec)


def _encode_spec(spec: SocketSpec) -> dict[str, Value]:
    message: dict[str, Value] = {"ns": _encode_namespace(spec.namespace), "family": spec.family, "type": spec.type}
    if spec.proto:
        message["proto"] = spec.proto
    if spec.bind is not None:
        message["bind"] = encode_address(spec.bind)
    if spec.listen is not None:
        message["listen"] = spec.listen
    if spec.options:
        message["options"] = [list(option) for option in spec.options]
    if spec.also:
        message["also"] = [encode_address(address) for address in spec.also]
    return message


def _encode_namespace(namespace: NamespaceRef) -> Value:
    return namespace if type(namespace) is str else {"fd": namespace}


def decode_request(packet: bytes) -> Request:
    """Read a request.

    Raises:
        ProtocolError: client/docs/protocol.md does not allow the packet. Its request_id is `None` if the packet has no
            valid id.
    """
    message = unpack(packet)
    request_id = expect_int(message.get("id"), 0, MAX_REQUEST_ID, "id")
    try:
        return decode_known(message, request_id)
    except ProtocolError as error:
        error.request_id = request_id
        raise


def decode_known(
    message: dict[str, Value], request_id: int, decode_one: Callable[[Value], Decoded] | None = None
) -> Request:
    """Read a request whose id is known. `decode_one` reads each of its specs; the default is `decode_any_spec`.

    Raises:
        ProtocolError: client/docs/protocol.md does not allow it.
    """
    version = message.get("v")
    if type(version) is not int or version != PROTOCOL_VERSION:
        raise ProtocolError(
            f"protocol version {shorten(version)}; this broker speaks {PROTOCOL_VERSION}", code=UNSUPPORTED_VERSION
        )
    operation = message.get("op")
    if operation == "open":
        return _decode_open(message, request_id, decode_one or decode_any_spec)
    if operation == "namespaces":
        refuse_unknown_keys(message, _NAMESPACES_KEYS, "the request")
        return NamespacesRequest(request_id, expect_bool(message.get("engines", False), "engines"))
    if operation == "resolver":
        refuse_unknown_keys(message, _RESOLVER_KEYS, "the request")
        return ResolverRequest(request_id, _decode_namespace(message.get("ns")))
    if operation == "explain":
        refuse_unknown_keys(message, _EXPLAIN_KEYS, "the request")
        spec = decode_spec(message.get("socket"))
        connect = decode_connect(message["connect"], spec.family) if "connect" in message else None
        return ExplainRequest(request_id, spec, connect)
    raise ProtocolError(f"unknown op {shorten(operation)}")


def _decode_open(message: dict[str, Value], request_id: int, decode_one: Callable[[Value], Decoded]) -> OpenRequest:
    if not message.keys() <= _OPEN_KEYS:
        refuse_unknown_keys(message, _OPEN_KEYS, "the request")
    sockets = expect_list(message.get("sockets"), "sockets")
    if not 1 <= len(sockets) <= MAX_SOCKETS:
        raise ProtocolError(f"the request has {len(sockets)} sockets, and it must have 1..{MAX_SOCKETS}")
    wait_s = _decode_wait(message["wait"]) if "wait" in message else 0
    stock = expect_int(message["stock"], 1, MAX_SOCKETS, "stock") if "stock" in message else 0
    specs: list[SocketSpec] = []
    groups = 0
    for value in sockets:
        if len(specs) >= MAX_SOCKETS:  # the next spec is of one socket at least
            raise too_many_sockets()
        try:
            decoded = decode_one(value)
        except ProtocolError as error:
            error.index = len(specs)
            raise
        if type(decoded) is list:
            groups += 1
            specs += decoded
        else:
            specs.append(decoded)  # type: ignore[arg-type]  # a spec
    if len(specs) > MAX_SOCKETS:
        raise too_many_sockets()
    if groups and groups < len(sockets):
        raise ProtocolError("all specs of a request have each, or none")
    if stock and (wait_s or groups or len(specs) > 1 or not _can_be_stocked(specs[0])):
        raise ProtocolError("stock takes one IP socket in a namespace with a name, which is not bound, and no wait")
    return OpenRequest(request_id, tuple(specs), wait_s, stock, groups > 0)


def _can_be_stocked(spec: SocketSpec) -> bool:
    return type(spec.namespace) is str and spec.family in _IP and spec.bind is None and spec.listen is None


def _decode_wait(value: Value) -> float:
    if type(value) not in (int, float) or not math.isfinite(value) or not 0 <= value <= MAX_WAIT_S:  # type: ignore[arg-type,operator]  # a number, as checked first
        raise ProtocolError(f"wait is 0..{MAX_WAIT_S} seconds, got {shorten(value)}")
    return value  # type: ignore[return-value]  # a number, as checked


def decode_any_spec(value: Value) -> Decoded:
    """Read a spec of a request: of one socket, or of a group.

    Raises:
        ProtocolError: client/docs/protocol.md does not allow it.
    """
    if not is_group(value):
        return decode_spec(value)
    specs: list[SocketSpec] = []
    for _ in decode_group_in_steps(value, specs):
        pass
    return specs


def is_group(value: Value) -> bool:
    """Return whether a spec of a request is one of a group."""
    return type(value) is dict and "each" in value


def decode_group_in_steps(value: Value, specs: list[SocketSpec]) -> Iterator[None]:
    """Read a spec of a group, and add its sockets to `specs`. Yield after some of them.

    Raises:
        ProtocolError: client/docs/protocol.md does not allow it.
    """
    from .groups import decode_group  # a client never needs it

    return decode_group(value, decode_spec, _decode_namespace, specs)  # type: ignore[arg-type]  # a map, see `is_group`


def decode_spec(value: Value) -> SocketSpec:
    """Read the description of a socket.

    Raises:
        ProtocolError: client/docs/protocol.md does not allow it.
    """
    if type(value) is not dict:
        raise ProtocolError(f"a socket spec must be a map, got {shorten(value)}")
    if not value.keys() <= _SPEC_KEYS:
        refuse_unknown_keys(value, _SPEC_KEYS, "a socket spec")
    family, socket_type, proto = value.get("family"), value.get("type"), value.get("proto", 0)
    # As `expect_int`, without its three calls for each socket of a batch.
    if type(family) is not int or type(socket_type) is not int or type(proto) is not int:
        raise ProtocolError(f"family, type and proto must be integers, got {shorten((family, socket_type, proto))}")
    if not (0 <= family < _INT32 and 0 <= socket_type < _INT32 and 0 <= proto < _INT32):
        raise ProtocolError(f"family, type and proto are of 0..{_INT32 - 1}, got {family}, {socket_type}, {proto}")
    if socket_type & ~_SOCK_NONBLOCK > 15:
        raise ProtocolError(f"type {socket_type:#x} has an unknown flag; only SOCK_NONBLOCK is allowed")
    bind = decode_bind(value["bind"], family) if "bind" in value else None
    return SocketSpec(
        _decode_namespace(value.get("ns")),
        family,
        socket_type,
        proto,
        bind,
        expect_int(value["listen"], 0, MAX_BACKLOG, "listen") if "listen" in value else None,
        _decode_options(value["options"]) if "options" in value else (),
        decode_also(value["also"], family, proto, bind) if "also" in value else (),
    )


def _decode_namespace(value: Value) -> NamespaceRef:
    """Check the form only. The broker checks which names are legal, and which exist."""
    if type(value) is str:
        if len(value) > MAX_NAME_BYTES and len(value.encode()) > 4 * MAX_NAME_BYTES:
            raise ProtocolError(f"the name of a namespace is at most {4 * MAX_NAME_BYTES} bytes here")
        return value
    if type(value) is dict and value.keys() == _FD_KEYS:
        return expect_int(value["fd"], 0, MAX_SENT_FDS - 1, "fd")
    raise ProtocolError(f'ns is a name or {{"fd": index}}, got {shorten(value)}')


def _decode_options(value: Value) -> tuple[Option, ...]:
    options = expect_list(value, "options")
    if len(options) > MAX_OPTIONS:
        raise ProtocolError(f"a socket spec has {len(options)} options, and the most is {MAX_OPTIONS}")
    return tuple([_decode_option(option) for option in options])


def _decode_option(value: Value) -> Option:
    if type(value) is not list or len(value) != 3:
        raise ProtocolError(f"an option is [level, name, value], got {shorten(value)}")
    level, name, setting = value
    # As `expect_int`, without its calls.
    if type(level) is not int or type(name) is not int or not (0 <= level < _INT32 and 0 <= name < _INT32):
        raise ProtocolError(f"an option's level and name are integers of 0..{_INT32 - 1}, got {shorten(value)}")
    if type(setting) is bytes:
        if len(setting) > MAX_OPTION_BYTES:
            raise ProtocolError(f"an option's value is at most {MAX_OPTION_BYTES} bytes, got {len(setting)}")
        return level, name, setting
    return level, name, expect_int(setting, -_INT32, 2 * _INT32 - 1, "an option's value")


def named_descriptors(request: Request) -> int:
    """Return how many descriptors must come with a request: one more than the highest index that it names.

    Raises:
        ProtocolError: the indices have a gap.
    """
    if isinstance(request, OpenRequest):
        named = {spec.namespace for spec in request.sockets if type(spec.namespace) is int}
    elif isinstance(request, ResolverRequest):
        named = {request.namespace} if type(request.namespace) is int else set()
    elif isinstance(request, ExplainRequest):
        named = {request.socket.namespace} if type(request.socket.namespace) is int else set()
    else:
        return 0
    if named and named != set(range(len(named))):
        text = "the indices of the descriptors must start at 0 without a gap"
        raise ProtocolError(text, request_id=request.request_id)
    return len(named)
