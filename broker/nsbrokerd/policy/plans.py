"""One request, from its bytes to a plan or a refusal. Pure.

The plan groups the sockets by namespace, so that a batch enters each namespace once.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from nsbroker.wire import (
    BAD_REQUEST,
    DENIED,
    NamespaceRef,
    OpenRequest,
    ProtocolError,
    Request,
    SocketSpec,
    decode_request,
    named_descriptors,
)

from . import Deny, Grant, Policy, Subject
from .kinds import KIND_OF_TRIPLE

_SOCK_NONBLOCK = int(socket.SOCK_NONBLOCK)
_MAX_COMMON_OPTIONS = 4


class Refusal(NamedTuple):
    """Why a request gets no socket; `errno` comes with the code os-error alone."""

    code: str
    message: str
    errno: int | None = None
    spec_index: int | None = None
    namespace: str | None = None
    grant: str | None = None


class PlannedSocket(NamedTuple):
    """A socket that the policy allows. `position` is its place in the request, `label` its group's."""

    position: int
    label: str
    spec: SocketSpec
    kind: str
    grant: Grant
    binds_as_root: bool


class PlannedGroup(NamedTuple):
    """The sockets of one namespace; `label` is how the audit names it."""

    namespace: NamespaceRef
    label: str
    sockets: list[PlannedSocket]


Plan = list[PlannedGroup]


def read_request(packet: bytes) -> tuple[Request, int]:
    """Decode a request; gives also the number of descriptors that it says it brings.

    Raises:
        ProtocolError: it does not follow the protocol.
    """
    request = decode_request(packet)
    return request, named_descriptors(request)


def is_common(sockets: Sequence[SocketSpec]) -> bool:
    """Tell whether this is what is asked for again and again: one socket, bound to nothing, with few options.

    It is also small: up to 3 KB are kept of it where it is remembered, and of most 1 KB.
    """
    return len(sockets) == 1 and sockets[0].bind is None and len(sockets[0].options) <= _MAX_COMMON_OPTIONS


def refuse(error: ProtocolError) -> Refusal:
    """Say to the peer what was wrong with its packet."""
    return Refusal(error.code, str(error), spec_index=error.index)


def plan(request: OpenRequest, policy: Policy, subject: Subject, sent: Mapping[int, Sequence[str]]) -> Plan | Refusal:
    """Decide about each socket of a request: all are allowed, or the first refused one is named.

    Args:
        request: what is asked for.
        policy: what is granted.
        subject: who asks.
        sent: for each descriptor of the request the names that its namespace goes by: maybe none.
    """
    groups: dict[NamespaceRef, PlannedGroup] = {}
    packets = 0
    for position, spec in enumerate(request.sockets):
        namespace = spec.namespace
        group = groups.get(namespace)
        if group is None:
            group = groups[namespace] = PlannedGroup(namespace, _label(namespace, sent), [])
        planned = _plan_socket(position, group.label, spec, policy, subject, sent)
        if isinstance(planned, Refusal):
            return planned._replace(spec_index=position, namespace=group.label)
        packets += planned.kind == "packet"
        group.sockets.append(planned)
    if packets > 1:
        return Refusal(
            BAD_REQUEST, f"{packets} packet sockets in one request; at most one, since each is slow to close"
        )
    return list(groups.values())


def _label(namespace: NamespaceRef, sent: Mapping[int, Sequence[str]]) -> str:
    if isinstance(namespace, str):
        return namespace
    return f"descriptor:{'='.join(sent[namespace])}"


def _plan_socket(
    position: int, label: str, spec: SocketSpec, policy: Policy, subject: Subject, sent: Mapping[int, Sequence[str]]
) -> PlannedSocket | Refusal:
    kind = KIND_OF_TRIPLE.get((spec.family, spec.type & ~_SOCK_NONBLOCK, spec.proto))
    if kind is None:
        return Refusal(
            DENIED,
            f"family {spec.family}, type {spec.type & ~_SOCK_NONBLOCK}, protocol {spec.proto} "
            "is no kind of socket that a grant can name",
        )
    if kind == "unix" and spec.listen is not None:
        return Refusal(BAD_REQUEST, "a Unix socket must listen by itself, else its peers take root for its owner")
    namespace = spec.namespace
    names = (namespace,) if isinstance(namespace, str) else sent[namespace]
    decision = policy.decide(subject, names, kind, spec)
    if isinstance(decision, Deny):
        return Refusal(DENIED, decision.reason)
    return PlannedSocket(position, label, spec, kind, decision.grant, decision.binds_as_root)
