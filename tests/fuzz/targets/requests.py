"""Packets of clients, as the broker reads them: the decoder, the memory of packets, the decision, and the audit."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

import msgpack

from nsbroker import wire
from nsbrokerd.clients.peer import Peer
from nsbrokerd.policy import AddressRule, Grant, Limit, NamespaceRule, OptionRule, Policy, Subject
from nsbrokerd.policy.explain import explain
from nsbrokerd.policy.kinds import KINDS
from nsbrokerd.policy.plans import Plan, Refusal, plan
from nsbrokerd.requests.audit import Audit
from nsbrokerd.requests.plan_memory import PlanMemory

from .. import corpus
from ..packets import mutator
from ..target import Target

KEYS = (
    "v", "id", "op", "sockets", "wait", "ns", "family", "type", "proto", "bind", "listen", "options", "also", "fd",
    "each", "socket", "connect", "open", "namespaces", "resolver", "explain",
)  # fmt: skip
MAX_RECORD_BYTES = 40_000
"""Of an audit record: 32 options, 15 more addresses, and the longest texts."""

SUBJECT = Subject(1000, frozenset({1000}))
PEER = Peer(SUBJECT, 1000, 1)
NAMES = {index: () if index % 2 else ("blue",) for index in range(wire.MAX_SENT_FDS)}
OWN = tuple(AddressRule.parse(text) for text in ("*:80", "10.0.0.0/8:1-65535", "[fd00::/8]:*", "127.0.0.1:0-79"))
LIMITED = frozenset({"tcp", "udp", "udplite", "mptcp"})
EVERYWHERE = NamespaceRule.parse(["*", "!red", "@host", "@own"])
POLICY = Policy(
    (
        Grant("some", None, frozenset(), EVERYWHERE, LIMITED, OWN, (OptionRule.parse("mark=1"),), Limit(OWN, OWN)),
        Grant("all", None, frozenset(), EVERYWHERE, frozenset(KINDS), OWN, (OptionRule.parse("bind_device=eth*"),)),
    )
)


def check(data: bytes) -> None:
    """Check one packet."""
    recalled = MEMORY.recall(SUBJECT, data)
    try:
        request = wire.decode_request(data)
        named = wire.named_descriptors(request)
    except wire.ProtocolError as error:
        assert recalled is None, "the broker serves a packet from memory that it would refuse"
        check_error(error, data)
        return
    again = wire.decode_request(wire.encode_request(request))
    assert (type(again), again) == (type(request), request), "decoding the encoded request gives another one"
    raw: dict[str, Any] = msgpack.unpackb(data)
    specs = raw["sockets"] if raw["op"] == "open" else [raw["socket"]] if raw["op"] == "explain" else [raw]
    spaces = [space for spec in specs for space in namespaces_of(spec)]
    sent = {space["fd"] for space in spaces if isinstance(space, dict)}
    assert sent == set(range(named)), "the number of descriptors is another one"
    if isinstance(request, wire.OpenRequest):
        assert len(request.sockets) == len(spaces)
        planned = plan(request.sockets, POLICY, SUBJECT, NAMES)
        check_plan(request, planned)
        if recalled is not None:
            assert recalled == (request, planned), "the memory of packets has another request for this one"
    else:
        assert recalled is None
    if isinstance(request, wire.ExplainRequest):
        explanation = explain(request.socket, request.connect, POLICY, SUBJECT, NAMES)
        if isinstance(explanation, wire.Explanation):
            assert wire.decode_explanation(wire.encode_explanation(explanation)) == explanation
            is_planned = not isinstance(plan((request.socket,), POLICY, SUBJECT, NAMES), Refusal)
            assert is_planned == (explanation.by is not None), "explain and open disagree"


def namespaces_of(spec: dict[str, Any]) -> list[Any]:
    """List the namespace of each socket of a spec, which can be one of a group."""
    if "each" not in spec:
        return [spec.get("ns")]
    has_port = "bind" in spec and spec["family"] in (socket.AF_INET, socket.AF_INET6)
    return [space for space, *numbers in spec["each"] for _ in range(len(numbers) if has_port else numbers[0])]


def check_error(error: wire.ProtocolError, data: bytes) -> None:
    """Check that an error has everything for the answer."""
    assert error.code in (wire.BAD_REQUEST, wire.UNSUPPORTED_VERSION)
    assert error.index is None or 0 <= error.index < wire.MAX_SOCKETS
    assert len(str(error)) < 300
    if error.request_id is not None:
        assert error.request_id == msgpack.unpackb(data)["id"]
    wire.encode_reply(wire.ErrorReply(error.request_id, error.code, str(error), None, error.index))


def check_plan(request: wire.OpenRequest, planned: Plan | Refusal) -> None:
    """Check that each socket has its plan, or that the refusal can be recorded and sent."""
    if not isinstance(planned, Refusal):
        positions = [one.position for group in planned for one in group.sockets]
        assert sorted(positions) == list(range(len(request.sockets)))
        return
    wire.encode_reply(wire.ErrorReply(request.request_id, planned.code, planned.message, None, planned.spec_index))
    size = AUDIT.refused(PEER, request.request_id, "open", planned, request.sockets)
    record = os.pread(AUDIT_FD, size + 1, 0)
    os.ftruncate(AUDIT_FD, 0)
    assert len(record) == size <= MAX_RECORD_BYTES
    assert record.endswith(b"}\n")
    assert record.isascii()
    assert record.count(b"\n") == 1
    assert json.loads(record)["id"] == request.request_id


def _memory() -> PlanMemory:
    """Return a memory of the kept packets."""
    memory = PlanMemory(POLICY)
    for packet in corpus.read("requests"):
        try:
            request = wire.decode_request(packet)
        except wire.ProtocolError:
            continue
        if isinstance(request, wire.OpenRequest):
            planned = plan(request.sockets, POLICY, SUBJECT, NAMES)
            if not isinstance(planned, Refusal):
                memory.remember(SUBJECT, packet, request, planned)
    return memory


AUDIT_FD = os.memfd_create("audit")
AUDIT = Audit(f"/proc/self/fd/{AUDIT_FD}")
MEMORY = _memory()
TARGET = Target(check, tuple(key.encode() for key in KEYS), mutate=mutator(KEYS))
