"""Hypothesis strategies for the messages of the protocol, and for bytes that are nearly one."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address

import msgpack
from hypothesis import strategies as st

from nsbroker import wire

ints32 = st.integers(0, 2**31 - 1)
ports = st.integers(0, 65535)
ids = st.integers(0, 2**63 - 1)
cookies = st.integers(1, 2**64 - 1)
texts = st.text(max_size=20)
v4 = st.tuples(st.builds(str, st.builds(IPv4Address, st.integers(0, 2**32 - 1))), ports)
v6 = st.tuples(
    st.builds(str, st.builds(IPv6Address, st.integers(0, 2**128 - 1))),
    ports,
    st.integers(0, 2**20 - 1),
    st.integers(0, 2**32 - 1),
)
abstract = st.binary(max_size=107)
packet = st.tuples(st.from_regex(r"[a-z0-9.:@-]{1,15}", fullmatch=True), ports)
BINDABLE = {socket.AF_INET: v4, socket.AF_INET6: v6, socket.AF_UNIX: abstract, socket.AF_PACKET: packet}

namespaces = st.one_of(st.text(max_size=255), st.integers(0, 15))
options = st.lists(
    st.tuples(ints32, ints32, st.one_of(st.integers(-(2**31), 2**32 - 1), st.binary(max_size=256))), max_size=4
).map(tuple)
types = st.tuples(st.integers(0, 15), st.sampled_from([0, int(socket.SOCK_NONBLOCK)])).map(sum)


@st.composite
def specs(draw: st.DrawFn) -> wire.SocketSpec:
    family = draw(st.one_of(st.sampled_from([int(family) for family in BINDABLE]), ints32))
    bind = draw(st.one_of(st.none(), BINDABLE[family])) if family in BINDABLE else None
    backlog = draw(st.one_of(st.none(), ports))
    spec = wire.SocketSpec(draw(namespaces), family, draw(types), draw(ints32), bind, backlog, draw(options))
    if bind is None or family not in (socket.AF_INET, socket.AF_INET6) or not draw(st.booleans()):
        return spec
    also = draw(st.lists(BINDABLE[family], max_size=15))
    return spec._replace(proto=132, also=tuple((host, bind[1], *rest) for host, _, *rest in also))


waits = st.one_of(st.integers(0, 60), st.floats(0, 60))
plain_requests = st.builds(
    wire.OpenRequest, ids, st.lists(specs(), min_size=1, max_size=8).map(tuple), waits, st.just(0), st.just(False)
)


@st.composite
def grouped_requests(draw: st.DrawFn) -> wire.OpenRequest:
    """Sockets of a few shapes, in a few namespaces, and with a few ports."""
    shapes = [spec._replace(also=()) for spec in draw(st.lists(specs(), min_size=1, max_size=3))]
    places = draw(st.lists(namespaces, min_size=1, max_size=3))
    asked = []
    for shape, place, port in draw(
        st.lists(st.tuples(st.sampled_from(shapes), st.sampled_from(places), ports), min_size=1, max_size=20)
    ):
        spec = shape._replace(namespace=place)
        if spec.bind is not None and spec.family in (socket.AF_INET, socket.AF_INET6):
            spec = spec._replace(bind=(spec.bind[0], port, *spec.bind[2:]))
        asked.append(spec)
    return wire.OpenRequest(draw(ids), tuple(asked), draw(waits), 0, True)


open_requests = st.one_of(plain_requests, grouped_requests())
stocked = st.builds(
    wire.SocketSpec,
    st.text(max_size=255),
    st.sampled_from([int(socket.AF_INET), int(socket.AF_INET6)]),
    types,
    ints32,
    st.none(),
    st.none(),
    options,
    st.just(()),
)
stock_requests = st.builds(wire.OpenRequest, ids, st.tuples(stocked), st.just(0), st.integers(1, 253), st.just(False))
resolver_requests = st.builds(wire.ResolverRequest, ids, st.one_of(st.text(max_size=255), st.just(0)))


@st.composite
def explain_requests(draw: st.DrawFn) -> wire.ExplainRequest:
    spec = draw(specs())
    connect = draw(BINDABLE[spec.family]) if spec.family in (socket.AF_INET, socket.AF_INET6) else None
    if type(spec.namespace) is int:
        spec = spec._replace(namespace=0)
    return wire.ExplainRequest(draw(ids), spec, draw(st.sampled_from([None, connect])))


requests = st.one_of(
    open_requests,
    stock_requests,
    st.builds(wire.NamespacesRequest, ids, st.booleans()),
    resolver_requests,
    explain_requests(),
)
resolver_files = st.builds(wire.ResolverFiles, texts, texts, texts, st.dictionaries(texts, texts, max_size=4))

names = st.one_of(st.none(), v4, v6, abstract, packet)
numbers = st.integers(0, 2**64 - 1)
entered = st.lists(
    st.builds(wire.EnteredNamespace, cookies, numbers, numbers),
    min_size=1,
    max_size=4,
    unique_by=lambda one: one.cookie,
).map(tuple)


@st.composite
def open_replies(draw: st.DrawFn) -> wire.OpenReply:
    namespaces = draw(entered)
    is_grouped = draw(st.booleans())
    addresses = st.none() if is_grouped else names
    opened = st.builds(wire.OpenedSocket, cookies, addresses, st.integers(0, len(namespaces) - 1))
    sockets = draw(st.lists(opened, min_size=1, max_size=8).map(tuple))
    group = None if is_grouped else draw(st.one_of(st.none(), ints32))
    return wire.OpenReply(draw(ids), namespaces, sockets, group, is_grouped)


@st.composite
def error_replies(draw: st.DrawFn) -> wire.ErrorReply:
    code = draw(st.sampled_from(sorted(wire.CODES)))
    errno = draw(st.integers(1, 4095)) if code == wire.OS_ERROR else None
    index = draw(st.one_of(st.none(), st.integers(0, 252)))
    return wire.ErrorReply(draw(st.one_of(st.none(), ids)), code, draw(texts), errno, index)


replies = st.one_of(
    open_replies(),
    st.builds(wire.BlobReply, ids, st.integers(0, 2**26)),
    error_replies(),
)

strings = st.lists(texts, max_size=3).map(tuple)
limits = st.builds(wire.LimitSummary, st.one_of(st.none(), strings), st.one_of(st.none(), strings))
grants = st.lists(st.builds(wire.GrantSummary, texts, strings, strings, strings, limits), max_size=4).map(tuple)


@st.composite
def namespace_lists(draw: st.DrawFn) -> wire.NamespaceList:
    some = draw(grants)
    faults = draw(st.dictionaries(texts, texts, max_size=3))
    indices = st.lists(st.integers(0, len(some) - 1), max_size=3).map(tuple) if some else st.just(())
    return wire.NamespaceList(some, draw(st.lists(st.tuples(texts, indices), max_size=5).map(tuple)), faults)


@st.composite
def explanations(draw: st.DrawFn) -> wire.Explanation:
    some = draw(grants)
    one = st.lists(st.tuples(texts, texts), max_size=3).map(tuple)
    by = draw(st.integers(0, len(some) - 1)) if some and draw(st.booleans()) else None
    reason = draw(texts) if by is None else draw(st.one_of(st.none(), texts))
    lacks = draw(st.lists(one, min_size=len(some), max_size=len(some)).map(tuple))
    return wire.Explanation(reason, by, draw(st.booleans()), draw(st.booleans()), some, lacks)


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), texts, st.binary(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=8,
)
"""Anything that msgpack can carry."""

KEYS = ["v", "id", "op", "sockets", "wait", "blob", "error", "ns", "fd", "family", "type", "proto", "bind", "listen",
        "options", "also", "cookie", "address", "code", "errno", "message", "index", "grants", "namespaces", "each",
        "cookies", "limit", "connect", "socket", "reason", "by", "exists", "lacks", "resolv_conf", "hosts",
        "origin"]  # fmt: skip


def _nearly(inner: st.SearchStrategy) -> st.SearchStrategy:
    return st.dictionaries(st.sampled_from(KEYS), st.one_of(inner, st.lists(inner, max_size=3)), max_size=7)


nearly_messages = _nearly(st.one_of(values, _nearly(values), st.sampled_from([1, 2, 16, "open", "os-error"])))
"""Maps with the protocol's keys and whatever else in them."""


@st.composite
def mutated(draw: st.DrawFn, packets: st.SearchStrategy[bytes]) -> bytes:
    """A valid packet with some bytes changed, cut out or put in."""
    damaged = bytearray(draw(packets))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(damaged)))
        end = draw(st.integers(start, min(start + 4, len(damaged))))
        damaged[start:end] = draw(st.binary(max_size=4))
    return bytes(damaged)


def hostile(encoded: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Bytes of all sorts: random, nearly a message, and valid ones with damage."""
    return st.one_of(
        st.binary(max_size=200), values.map(msgpack.packb), nearly_messages.map(msgpack.packb), mutated(encoded)
    )
