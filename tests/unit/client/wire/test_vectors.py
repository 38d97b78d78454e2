"""The packets of tests/vectors, which other languages' clients are tested with too."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from nsbroker import wire
from support.checkout import TESTS

VECTORS = TESTS / "vectors"


def vectors(file_name: str) -> list[pytest.param]:
    document = json.loads((VECTORS / file_name).read_text())
    return [pytest.param(vector, id=vector["name"]) for vector in document["vectors"]]


def from_json(value: object) -> object:
    """The inverse of as_json in generate.py, with tuples for lists, as in the messages."""
    if isinstance(value, list):
        return tuple(from_json(item) for item in value)
    if isinstance(value, dict) and value.keys() == {"hex"}:
        return bytes.fromhex(value["hex"])
    if isinstance(value, dict) and value.keys() == {"int"}:
        return int(value["int"])
    return {key: from_json(item) for key, item in value.items()} if isinstance(value, dict) else value


def request_of(means: dict) -> wire.Request:
    if means["op"] == "namespaces":
        return wire.NamespacesRequest(means["id"], means["engines"])
    if means["op"] == "resolver":
        return wire.ResolverRequest(means["id"], namespace_of(means))
    if means["op"] == "explain":
        return wire.ExplainRequest(means["id"], spec_of(means["socket"]), means["connect"])
    specs = tuple(spec_of(spec) for spec in means["sockets"])
    return wire.OpenRequest(means["id"], specs, means["wait"], means.get("stock", 0), means.get("grouped", False))


def spec_of(spec: dict) -> wire.SocketSpec:
    fields = {**spec, "namespace": namespace_of(spec)}
    del fields["ns"]
    return wire.SocketSpec(**fields)


def namespace_of(means: dict) -> wire.NamespaceRef:
    return means["ns"]["fd"] if isinstance(means["ns"], dict) else means["ns"]


def reply_of(means: dict) -> wire.Reply:
    if "error" in means:
        error = means["error"]
        return wire.ErrorReply(means["id"], error["code"], error["message"], error["errno"], error["index"])
    if "blob" in means:
        return wire.BlobReply(means["id"], means["blob"])
    namespaces = tuple(wire.EnteredNamespace(*entered) for entered in means["namespaces"])
    sockets = tuple(map(opened_of, means["sockets"]))
    return wire.OpenReply(means["id"], namespaces, sockets, means.get("peer_group"), means.get("grouped", False))


def opened_of(means: dict) -> wire.OpenedSocket:
    return wire.OpenedSocket(means["cookie"], means["address"], means["ns"])


def namespaces_of(means: dict) -> wire.NamespaceList:
    return wire.NamespaceList(tuple(map(grant_of, means["grants"])), means["namespaces"], means["engines"])


def explanation_of(means: dict) -> wire.Explanation:
    return wire.Explanation(**{**means, "grants": tuple(map(grant_of, means["grants"]))})


def grant_of(means: dict) -> wire.GrantSummary:
    return wire.GrantSummary(**{**means, "limit": wire.LimitSummary(**means["limit"])})


def check(vector: dict, decode, encode, message_of) -> None:
    """A good packet decodes to its meaning, and its meaning encodes to the same bytes."""
    packet = bytes.fromhex(vector["packet"])
    message = message_of(from_json(vector["means"]))
    assert decode(packet) == message
    assert encode(message).hex() == vector.get("encodes_to", vector["packet"])


@pytest.mark.parametrize("vector", vectors("requests.json") + vectors("grouped_requests.json"))
def test_request(vector: dict) -> None:
    packet = bytes.fromhex(vector["packet"])
    if "error" not in vector:
        check(vector, wire.decode_request, wire.encode_request, request_of)
        assert wire.named_descriptors(wire.decode_request(packet)) == vector.get("fds", 0)
        return
    with pytest.raises(wire.ProtocolError) as refused:
        wire.named_descriptors(wire.decode_request(packet))
    error = refused.value
    assert (error.code, error.request_id, error.index) == (
        vector["error"]["code"],
        vector["error"]["id"],
        vector["error"].get("index"),
    )


@pytest.mark.parametrize("vector", vectors("replies.json") + vectors("grouped_replies.json"))
def test_reply(vector: dict) -> None:
    if "error" not in vector:
        check(vector, wire.decode_reply, wire.encode_reply, reply_of)
        return
    with pytest.raises(wire.ProtocolError):
        wire.decode_reply(bytes.fromhex(vector["packet"]))


@pytest.mark.parametrize("vector", vectors("namespaces.json"))
def test_namespaces(vector: dict) -> None:
    if "error" not in vector:
        check(vector, wire.decode_namespaces, wire.encode_namespaces, namespaces_of)
        return
    with pytest.raises(wire.ProtocolError):
        wire.decode_namespaces(bytes.fromhex(vector["packet"]))


@pytest.mark.parametrize("vector", vectors("explain.json"))
def test_explanation(vector: dict) -> None:
    if "error" not in vector:
        check(vector, wire.decode_explanation, wire.encode_explanation, explanation_of)
        return
    with pytest.raises(wire.ProtocolError):
        wire.decode_explanation(bytes.fromhex(vector["packet"]))


@pytest.mark.parametrize("vector", vectors("resolver.json"))
def test_resolver_files(vector: dict) -> None:
    if "error" not in vector:
        check(vector, wire.decode_resolver_files, wire.encode_resolver_files, lambda means: wire.ResolverFiles(**means))
        return
    with pytest.raises(wire.ProtocolError):
        wire.decode_resolver_files(bytes.fromhex(vector["packet"]))


def test_files_are_what_the_script_writes() -> None:
    """The cases and the files agree."""
    code = "import generate, json; print(json.dumps(generate.documents()))"
    output = subprocess.run([sys.executable, "-B", "-c", code], cwd=VECTORS, capture_output=True, text=True, check=True)
    assert json.loads(output.stdout) == {path.name: path.read_text() for path in VECTORS.glob("*.json")}
