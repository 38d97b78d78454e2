"""Groups: one spec on the wire for sockets that differ in namespace and port alone, and the short reply to them."""

from __future__ import annotations

import socket

from .bounds import MAX_SOCKETS
from .messages import EnteredNamespace, OpenedSocket, OpenReply, ProtocolError, SocketSpec
from .packet import Value, expect_list, shorten, too_many_sockets
from .record import make_record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from .messages import Address, NamespaceRef

_INET = frozenset({int(socket.AF_INET), int(socket.AF_INET6)})
_UINT64_MAX = 2**64 - 1
_SOCKETS_IN_STEP = 32


def encode_groups(specs: Iterable[SocketSpec], encode_spec: Callable[[SocketSpec], dict[str, Value]]) -> list[Value]:
    """Return one spec for each run of sockets that differ in namespace and port alone.

    Raises:
        ProtocolError: a socket has further addresses, which no group can have.
    """
    groups: list[Value] = []
    each: list[Value] = []
    run: list[Value] = []
    last: SocketSpec | None = None
    for spec in specs:
        namespace, family, bind, also = spec[0], spec[1], spec[4], spec[7]
        if also:
            raise ProtocolError("a socket with further addresses can't be in a group")
        port = bind[1] if bind is not None and family in _INET and len(bind) > 1 else None
        if last is None or not _are_alike(spec, last, port is not None):
            message = encode_spec(spec if port is None else spec._replace(bind=_at_port(bind, 0)))  # type: ignore[arg-type]  # it has a port
            del message["ns"]
            each = []
            message["each"] = each
            groups.append(message)
            last = None
        if last is None or namespace != last[0]:
            run = [namespace if type(namespace) is str else {"fd": namespace}]
            run.append(0 if port is None else port)
            each.append(run)
        elif port is not None:
            run.append(port)
        if port is None:
            run[1] += 1  # type: ignore[operator]  # the number of sockets
        last = spec
    return groups


def _are_alike(spec: SocketSpec, other: SocketSpec, has_port: bool) -> bool:
    if not has_port:
        return spec[1:] == other[1:]
    bind, others = spec[4], other[4]
    if others is None or spec[1:4] != other[1:4] or spec[5:] != other[5:]:
        return False
    return bind[:1] == others[:1] and bind[2:] == others[2:]  # type: ignore[index]  # it has a port


def _at_port(address: Address, port: int) -> Address:
    return (address[0], port, *address[2:])


def decode_group(
    value: dict[str, Value],
    decode_spec: Callable[[Value], SocketSpec],
    decode_namespace: Callable[[Value], NamespaceRef],
    specs: list[SocketSpec],
) -> Iterator[None]:
    """Read a spec with `each`, and add its sockets to `specs`, which is empty. Yield after some of them.

    Raises:
        ProtocolError: client/docs/protocol.md does not allow it.
    """
    if "ns" in value or "also" in value:
        raise ProtocolError("a spec with each has neither ns nor also")
    common = {key: part for key, part in value.items() if key != "each"}
    common["ns"] = ""
    _, family, socket_type, proto, bind, listen, options, _ = decode_spec(common)
    inet: Address = bind if bind is not None and family in _INET else ()  # type: ignore[assignment]  # no address
    if inet and inet[1]:
        raise ProtocolError("in a spec with each, the port of bind is 0")
    host, more = inet[:1], inet[2:]
    cut_at = _SOCKETS_IN_STEP
    for run in expect_list(value["each"], "each"):
        if type(run) is not list or len(run) < 2:
            raise ProtocolError(f"an item of each is [ns, number, ...], got {shorten(run)}")
        namespace = decode_namespace(run[0])
        if not inet:
            fields = namespace, family, socket_type, proto, bind, listen, options, ()
            specs += [make_record(SocketSpec, fields)] * _count(run)
        elif len(specs) + len(run) - 1 > MAX_SOCKETS:
            raise too_many_sockets()
        else:
            for start in range(1, len(run), _SOCKETS_IN_STEP):
                for port in run[start : start + _SOCKETS_IN_STEP]:
                    if type(port) is not int or not 0 <= port <= 65535:
                        raise ProtocolError(f"a port in each must be an integer of 0..65535, got {shorten(port)}")
                    inside = namespace, family, socket_type, proto, (*host, port, *more), listen, options, ()
                    specs.append(make_record(SocketSpec, inside))
                if start > 1:
                    yield
        if len(specs) >= cut_at:
            if len(specs) > MAX_SOCKETS:
                raise too_many_sockets()
            cut_at = len(specs) + _SOCKETS_IN_STEP
            yield
    if not specs:
        raise ProtocolError("each is empty")


def _count(run: list[Value]) -> int:
    """Return the number of sockets of an item without ports."""
    count = run[1]
    if len(run) != 2 or type(count) is not int or count < 1:
        raise ProtocolError(f"without a port, an item of each is [ns, number of sockets], got {shorten(run)}")
    return min(count, MAX_SOCKETS + 1)


def encode_cookies(sockets: Iterable[OpenedSocket]) -> list[Value]:
    """Return the sockets of a reply as [index of the namespace, cookie, ...], one item for each run."""
    runs: list[Value] = []
    run: list[Value] = []
    last = -1
    for cookie, _, namespace in sockets:
        if namespace != last:
            run = [namespace]
            runs.append(run)
            last = namespace
        run.append(cookie)
    return runs


def decode_cookies(value: Value, request_id: int, namespaces: tuple[EnteredNamespace, ...]) -> OpenReply:
    """Read the short reply.

    Raises:
        ProtocolError: client/docs/protocol.md does not allow it.
    """
    sockets: list[OpenedSocket] = []
    for run in expect_list(value, "cookies"):
        if type(run) is not list or len(run) < 2:
            raise ProtocolError(f"an item of cookies is [index, cookie, ...], got {shorten(run)}")
        index = run[0]
        if type(index) is not int or not 0 <= index < len(namespaces):
            raise ProtocolError(f"ns must be an index of one of {len(namespaces)} namespaces, got {shorten(index)}")
        if len(sockets) + len(run) - 1 > MAX_SOCKETS:
            raise too_many_sockets()
        _check_cookies(run[1:])
        sockets += [make_record(OpenedSocket, (cookie, None, index)) for cookie in run[1:]]
    if not sockets:
        raise ProtocolError("the reply has no socket")
    return make_record(OpenReply, (request_id, namespaces, tuple(sockets), None, True))


def _check_cookies(cookies: Sequence[Value]) -> None:
    for cookie in cookies:
        if type(cookie) is not int or not 1 <= cookie <= _UINT64_MAX:
            raise ProtocolError(f"a cookie must be an integer of 64 bits, got {shorten(cookie)}")
