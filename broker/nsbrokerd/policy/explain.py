"""Explains a decision: the grant that allows a socket, or the rules that each grant lacks. Pure.

The operation `explain` and the command `nsbrokerd explain` share it. The decision itself is the one for `open`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from nsbroker.wire import DENIED, Address, Explanation, SocketSpec

from . import Deny, Grant, Limit, Policy, Subject
from .decide import ends_of, lacks_low_port, privileged_options
from .kinds import KIND_OF_TRIPLE, PORT_KINDS, triple_of
from .options import PrivilegedOption
from .plans import Refusal, plan
from .rules import parse_host


def explain(
    spec: SocketSpec, connect: Address | None, policy: Policy, subject: Subject, sent: Mapping[int, Sequence[str]]
) -> Explanation | Refusal:
    """Decide about one socket, and about a connection from it, and explain the decision.

    The explanation has only grants of the subject that cover the namespace. If no grant could allow the socket, because
    no rule can name its kind or one of its options, it has no grants at all.

    Args:
        spec: the socket.
        connect: the IP address to which the client would connect it.
        policy: the grants.
        subject: the identity of the client.
        sent: for the descriptor of the spec, if any, all names of its namespace.

    Returns:
        The explanation, as if the namespace existed. A refusal, if the request is a bad one.
    """
    planned = plan((spec,), policy, subject, sent)
    if isinstance(planned, Refusal) and planned.code != DENIED:
        return planned
    names = (spec.namespace,) if isinstance(spec.namespace, str) else sent[spec.namespace]
    kind = KIND_OF_TRIPLE.get(triple_of(spec))
    options = privileged_options(spec.options)
    grants: list[Grant] = []
    lacks: tuple[tuple[tuple[str, str], ...], ...] = ()
    if kind is not None and not isinstance(options, Deny):
        grants = [grant for grant in policy.grants_of(subject) if any(map(grant.namespaces.covers, names))]
        lacks = tuple(tuple(_lacks(grant, kind, spec, options, connect)) for grant in grants)
    summaries = tuple(grant.summarise() for grant in grants)
    if isinstance(planned, Refusal):
        return Explanation(planned.message, None, False, True, summaries, lacks)
    [[allowed]] = [group.sockets for group in planned]
    reason = None
    if connect is not None and not _allows_connect(allowed.grant, allowed.kind, connect):
        told = f"port {connect[1]} of {connect[0]}" if allowed.kind in PORT_KINDS else f"{connect[0]!s}:*"
        reason = f"{told} is not in limit.connect of grant {allowed.grant.name!r}"
    return Explanation(reason, grants.index(allowed.grant), allowed.binds_as_root, True, summaries, lacks)


def _lacks(
    grant: Grant, kind: str, spec: SocketSpec, options: Sequence[PrivilegedOption], connect: Address | None
) -> Iterator[tuple[str, str]]:
    """Yield the rules that would have to be in the grant, each with its key."""
    if kind not in grant.kinds:
        yield "sockets", kind
    for option in options:
        if grant.missing_option((option,)) is not None:
            yield "options", str(option)
    for host, port in ends_of(spec, kind):
        if grant.limit is not None and not grant.limit.allows_bind(host, port):
            yield "limit.bind", _rule(host, port)
        elif lacks_low_port(grant, host, port):
            yield "bind", _rule(host, port)
    if connect is not None and not _allows_connect(grant, kind, connect):
        host = str(connect[0])
        # Only "*" covers the unspecified address as a destination.
        yield "limit.connect", _rule("*" if parse_host(host).is_unspecified else host, _port(kind, connect))


def _allows_connect(grant: Grant, kind: str, connect: Address) -> bool:
    return (grant.limit or Limit()).allows_connect(str(connect[0]), _port(kind, connect))


def _port(kind: str, connect: Address) -> int | None:
    return int(connect[1]) if kind in PORT_KINDS else None


def _rule(host: str, port: int | None) -> str:
    if host != "*":
        address = parse_host(host)
        host = f"[{address}]" if address.version == 6 else str(address)
    return f"{host}:{'*' if port is None else port}"
