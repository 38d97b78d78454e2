"""The long answers, which travel in a sealed memfd: of the operations `namespaces`, `resolver` and `explain`."""

from __future__ import annotations

from .bounds import MAX_BLOB_BYTES
from .messages import Explanation, GrantSummary, LimitSummary, NamespaceList, ProtocolError, ResolverFiles
from .packet import (
    Value,
    expect_bool,
    expect_int,
    expect_list,
    expect_map,
    expect_str,
    pack,
    refuse_unknown_keys,
    shorten,
    unpack,
)

_LIST_KEYS = frozenset({"grants", "namespaces", "engines"})
_RESOLVER_KEYS = frozenset({"resolv_conf", "hosts", "origin", "files"})
_GRANT_KEYS = frozenset({"name", "sockets", "bind", "options", "limit"})
_LIMIT_KEYS = frozenset({"connect", "bind"})
_EXPLANATION_KEYS = frozenset({"reason", "by", "binds_as_root", "exists", "grants", "lacks"})


def encode_namespaces(answer: NamespaceList) -> bytes:
    """Encode the answer to a `NamespacesRequest`."""
    grants: list[Value] = [_encode_grant(grant) for grant in answer.grants]
    namespaces: list[Value] = [[name, list(indices)] for name, indices in answer.namespaces]
    message: dict[str, Value] = {"grants": grants, "namespaces": namespaces}
    if answer.engines:
        message["engines"] = dict(answer.engines)
    return pack(message, MAX_BLOB_BYTES)


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
    """Read the answer to a `NamespacesRequest`.

    Raises:
        ProtocolError: the blob has a form that client/docs/protocol.md does not allow.
    """
    message = unpack(blob, MAX_BLOB_BYTES, max_items=len(blob))
    refuse_unknown_keys(message, _LIST_KEYS, "the answer")
    grants = tuple(_decode_grant(value) for value in expect_list(message.get("grants"), "grants"))
    entries = expect_list(message.get("namespaces"), "namespaces")
    engines = _decode_texts(message.get("engines", {}), "engines")
    return NamespaceList(grants, tuple(_decode_entry(value, len(grants)) for value in entries), engines)


def _decode_grant(value: Value) -> GrantSummary:
    message = expect_map(value, _GRANT_KEYS, "a grant")
    limit = expect_map(message.get("limit", {}), _LIMIT_KEYS, "a limit")
    return GrantSummary(
        expect_str(message.get("name"), "name"),
        _decode_strings(message.get("sockets"), "sockets"),
        _decode_strings(message.get("bind", []), "bind"),
        _decode_strings(message.get("options", []), "options"),
        LimitSummary(**{key: _decode_strings(texts, key) for key, texts in limit.items()}),
    )


def _decode_strings(value: Value, what: str) -> tuple[str, ...]:
    return tuple(expect_str(item, what) for item in expect_list(value, what))


def _decode_entry(value: Value, grants: int) -> tuple[str, tuple[int, ...]]:
    entry = expect_list(value, "a namespace")
    if len(entry) != 2:
        raise ProtocolError(f"a namespace is [name, grants], got {shorten(value)}")
    indices = expect_list(entry[1], "grants of a namespace")
    return expect_str(entry[0], "name"), tuple(expect_int(index, 0, grants - 1, "grant") for index in indices)


def encode_explanation(answer: Explanation) -> bytes:
    """Encode the answer to an `ExplainRequest`."""
    message: dict[str, Value] = {}
    if answer.reason is not None:
        message["reason"] = answer.reason
    if answer.by is not None:
        message["by"] = answer.by
    if answer.binds_as_root:
        message["binds_as_root"] = True
    if not answer.exists:
        message["exists"] = False
    message["grants"] = [_encode_grant(grant) for grant in answer.grants]
    message["lacks"] = [[list(lack) for lack in lacks] for lacks in answer.lacks]
    return pack(message, MAX_BLOB_BYTES)


def decode_explanation(blob: bytes) -> Explanation:
    """Read the answer to an `ExplainRequest`.

    Raises:
        ProtocolError: the blob has a form that client/docs/protocol.md does not allow.
    """
    message = unpack(blob, MAX_BLOB_BYTES, max_items=len(blob))
    refuse_unknown_keys(message, _EXPLANATION_KEYS, "the answer")
    grants = tuple(_decode_grant(value) for value in expect_list(message.get("grants"), "grants"))
    lacks = tuple(_decode_lacks(value) for value in expect_list(message.get("lacks"), "lacks"))
    if len(lacks) != len(grants):
        raise ProtocolError(f"the answer has {len(grants)} grants, but {len(lacks)} lists of missing rules")
    if "reason" not in message and "by" not in message:
        raise ProtocolError("the answer has neither a reason nor a grant")
    return Explanation(
        expect_str(message["reason"], "reason") if "reason" in message else None,
        expect_int(message["by"], 0, len(grants) - 1, "by") if "by" in message else None,
        expect_bool(message.get("binds_as_root", False), "binds_as_root"),
        expect_bool(message.get("exists", True), "exists"),
        grants,
        lacks,
    )


def _decode_lacks(value: Value) -> tuple[tuple[str, str], ...]:
    lacks = []
    for item in expect_list(value, "lacks of a grant"):
        lack = _decode_strings(item, "a lack")
        if len(lack) != 2:
            raise ProtocolError(f"a lack is [key, rule], got {shorten(item)}")
        lacks.append((lack[0], lack[1]))
    return tuple(lacks)


def encode_resolver_files(files: ResolverFiles) -> bytes:
    """Encode the answer to a `ResolverRequest`."""
    message: dict[str, Value] = {"resolv_conf": files.resolv_conf, "hosts": files.hosts, "origin": files.origin}
    if files.files:
        message["files"] = dict(files.files)
    return pack(message, MAX_BLOB_BYTES)


def decode_resolver_files(blob: bytes) -> ResolverFiles:
    """Read the answer to a `ResolverRequest`.

    Raises:
        ProtocolError: the blob has a form that client/docs/protocol.md does not allow.
    """
    message = unpack(blob, MAX_BLOB_BYTES)
    refuse_unknown_keys(message, _RESOLVER_KEYS, "the answer")
    resolv_conf, hosts, origin = (expect_str(message.get(key), key) for key in ("resolv_conf", "hosts", "origin"))
    # Unknown names are not refused: a later broker may send files that this client does not know.
    return ResolverFiles(resolv_conf, hosts, origin, _decode_texts(message.get("files", {}), "files"))


def _decode_texts(value: Value, what: str) -> dict[str, str]:
    if type(value) is not dict:
        raise ProtocolError(f"{what} must be a map, got {shorten(value)}")
    return {name: expect_str(text, name) for name, text in value.items()}
