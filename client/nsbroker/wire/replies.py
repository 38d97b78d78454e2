"""Replies to bytes and back: what the broker sends and the client reads."""

from __future__ import annotations

from .addresses import decode_name, encode_address
from .limits import MAX_REQUEST_ID, MAX_SOCKETS
from .messages import (
    CODES,
    OS_ERROR,
    BlobReply,
    ErrorReply,
    GrantSummary,
    LimitSummary,
    NamespaceList,
    OpenedSocket,
    OpenReply,
    ProtocolError,
    Reply,
    ResolverFiles,
)
from .packet import Value, expect_int, expect_list, expect_str, pack, refuse_unknown_keys, shorten, unpack

_OPEN_KEYS = frozenset({"id", "sockets"})
_BLOB_KEYS = frozenset({"id", "blob"})
_ERROR_REPLY_KEYS = frozenset({"id", "error"})
_SOCKET_KEYS = frozenset({"cookie", "netns", "name"})
_ERROR_KEYS = frozenset({"code", "errno", "message", "index"})
_LIST_KEYS = frozenset({"grants", "namespaces"})
_RESOLVER_KEYS = frozenset({"resolv_conf", "hosts", "origin"})
_GRANT_KEYS = frozenset({"name", "sockets", "bind", "options", "limit"})
_LIMIT_KEYS = frozenset({"connect", "bind"})
_UINT64_MAX = 2**64 - 1

MAX_BLOB_BYTES = 2**26
"""A client maps no larger answer."""


def encode_reply(reply: Reply) -> bytes:
    """Encode a reply; defaults are left out.

    Raises:
        ProtocolError: it does not fit a packet.
    """
    if isinstance(reply, OpenReply):
        return pack({"id": reply.request_id, "sockets": [_encode_socket(opened) for opened in reply.sockets]})
    if isinstance(reply, BlobReply):
        return pack({"id": reply.request_id, "blob": reply.size})
    error: dict[str, Value] = {"code": reply.code, "message": reply.message}
    if reply.errno is not None:
        error["errno"] = reply.errno
    if reply.spec_index is not None:
        error["index"] = reply.spec_index
    return pack({"id": reply.request_id, "error": error})


def _encode_socket(opened: OpenedSocket) -> Value:
    cookie, netns, name = opened
    if name is None:
        return {"cookie": cookie, "netns": netns}
    return {"cookie": cookie, "netns": netns, "name": encode_address(name)}


def decode_reply(packet: bytes) -> Reply:
    """Read a reply.

    Raises:
        ProtocolError: anything that client/docs/protocol.md does not allow.
    """
    message = unpack(packet)
    if "error" in message:
        refuse_unknown_keys(message, _ERROR_REPLY_KEYS, "the reply")
        return _decode_error(message["error"], message.get("id", ""))
    request_id = expect_int(message.get("id"), 0, MAX_REQUEST_ID, "id")
    if "blob" in message:
        refuse_unknown_keys(message, _BLOB_KEYS, "the reply")
        return BlobReply(request_id, expect_int(message["blob"], 0, MAX_BLOB_BYTES, "blob"))
    if message.keys() != _OPEN_KEYS:
        refuse_unknown_keys(message, _OPEN_KEYS, "the reply")
    sockets = expect_list(message.get("sockets"), "sockets")
    if not 1 <= len(sockets) <= MAX_SOCKETS:
        raise ProtocolError(f"{len(sockets)} sockets in a reply")
    return OpenReply(request_id, tuple([_decode_socket(value) for value in sockets]))


def _decode_socket(value: Value) -> OpenedSocket:
    if type(value) is not dict:
        raise ProtocolError(f"a socket of a reply is a map, got {shorten(value)}")
    if not value.keys() <= _SOCKET_KEYS:
        refuse_unknown_keys(value, _SOCKET_KEYS, "a socket of the reply")
    cookie, netns = value.get("cookie"), value.get("netns")
    # As `expect_int`, without its calls.
    if (
        type(cookie) is not int
        or type(netns) is not int
        or not (1 <= cookie <= _UINT64_MAX and 1 <= netns <= _UINT64_MAX)
    ):
        raise ProtocolError(f"cookie and netns must be integers of 64 bits, got {shorten(value)}")
    return OpenedSocket(cookie, netns, decode_name(value["name"]) if "name" in value else None)


def _decode_error(value: Value, request_id: Value) -> ErrorReply:
    if type(value) is not dict:
        raise ProtocolError(f"error must be a map, got {shorten(value)}")
    refuse_unknown_keys(value, _ERROR_KEYS, "the error")
    code = expect_str(value.get("code"), "code")
    if code not in CODES:
        raise ProtocolError(f"unknown error code {shorten(code)}")
    if (code == OS_ERROR) != ("errno" in value):
        raise ProtocolError("errno comes with os-error, and with it alone")
    return ErrorReply(
        None if request_id is None else expect_int(request_id, 0, MAX_REQUEST_ID, "id"),
        code,
        expect_str(value.get("message"), "message"),
        expect_int(value["errno"], 1, 4095, "errno") if "errno" in value else None,
        expect_int(value["index"], 0, MAX_SOCKETS - 1, "index") if "index" in value else None,
    )


def encode_namespaces(answer: NamespaceList) -> bytes:
    """Encode the blob that answers a `NamespacesRequest`."""
    grants: list[Value] = [_encode_grant(grant) for grant in answer.grants]
    namespaces: list[Value] = [[name, list(indices)] for name, indices in answer.namespaces]
    return pack({"grants": grants, "namespaces": namespaces}, MAX_BLOB_BYTES)


def _encode_grant(grant: GrantSummary) -> Value:
    message: dict[str, Value] = {"name": grant.name, "sockets": list(grant.sockets)}
    if grant.bind:
        message["bind"] = list(grant.bind)
    if grant.options:
        message["options"] = list(grant.options)
    limit: dict[str, Value] = {key: list(texts) for key, texts in grant.limit._asdict().items() if texts is not None}
    if limit:
        message["limit"] = limit
    return message


def decode_namespaces(blob: bytes) -> NamespaceList:
    """Read the blob that answers a `NamespacesRequest`.

    Raises:
        ProtocolError: anything that client/docs/protocol.md does not allow.
    """
    message = unpack(blob, MAX_BLOB_BYTES, max_items=len(blob))
    refuse_unknown_keys(message, _LIST_KEYS, "the answer")
    grants = tuple(_decode_grant(value) for value in expect_list(message.get("grants"), "grants"))
    entries = expect_list(message.get("namespaces"), "namespaces")
    return NamespaceList(grants, tuple(_decode_entry(value, len(grants)) for value in entries))


def _decode_grant(value: Value) -> GrantSummary:
    if type(value) is not dict:
        raise ProtocolError(f"a grant is a map, got {shorten(value)}")
    refuse_unknown_keys(value, _GRANT_KEYS, "a grant")
    return GrantSummary(
        expect_str(value.get("name"), "name"),
        _decode_strings(value.get("sockets"), "sockets"),
        _decode_strings(value.get("bind", []), "bind"),
        _decode_strings(value.get("options", []), "options"),
        _decode_limit(value.get("limit", {})),
    )


def _decode_limit(value: Value) -> LimitSummary:
    if type(value) is not dict:
        raise ProtocolError(f"a limit is a map, got {shorten(value)}")
    refuse_unknown_keys(value, _LIMIT_KEYS, "a limit")
    return LimitSummary(**{key: _decode_strings(texts, key) for key, texts in value.items()})


def _decode_strings(value: Value, what: str) -> tuple[str, ...]:
    return tuple(expect_str(item, what) for item in expect_list(value, what))


def _decode_entry(value: Value, grants: int) -> tuple[str, tuple[int, ...]]:
    name, indices, *rest = [*expect_list(value, "a namespace"), None, None]
    if len(rest) != 2:
        raise ProtocolError(f"a namespace is [name, grants], got {shorten(value)}")
    numbers = expect_list(indices, "grants of a namespace")
    return expect_str(name, "name"), tuple(expect_int(number, 0, grants - 1, "grant") for number in numbers)


def encode_resolver_files(files: ResolverFiles) -> bytes:
    """Encode the blob that answers a `ResolverRequest`."""
    return pack({"resolv_conf": files.resolv_conf, "hosts": files.hosts, "origin": files.origin}, MAX_BLOB_BYTES)


def decode_resolver_files(blob: bytes) -> ResolverFiles:
    """Read the blob that answers a `ResolverRequest`.

    Raises:
        ProtocolError: anything that client/docs/protocol.md does not allow.
    """
    message = unpack(blob, MAX_BLOB_BYTES)
    refuse_unknown_keys(message, _RESOLVER_KEYS, "the answer")
    resolv_conf, hosts, origin = (expect_str(message.get(key), key) for key in ("resolv_conf", "hosts", "origin"))
    return ResolverFiles(resolv_conf, hosts, origin)
