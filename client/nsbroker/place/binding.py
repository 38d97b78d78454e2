"""Opens sockets that the broker binds: looks up the interfaces that addresses name, and waits for addresses."""

from __future__ import annotations

import errno
import socket
from time import monotonic

from ..link.broker import plain_socket
from ..link.errors import Error
from ..link.waiting import wait
from ..names.numeric import interface_index
from ..wire.messages import Address, SocketSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeVar

    from ..link.broker import Broker
    from ..link.waiting import Waiting

    S = TypeVar("S", bound=socket.SocketType)

_INET6 = int(socket.AF_INET6)
_MISSING = frozenset({errno.EADDRNOTAVAIL, errno.ENODEV})
"""There is no such interface, none has the address, or IPv6 has not checked yet whether the address is unique."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0
"""Each attempt costs the broker a request and a line of the audit, so the pauses grow."""


def open_sockets(
    broker: Broker, take_fd: Callable[[SocketSpec, int], S], specs: Iterable[SocketSpec], wait_s: float = 0
) -> Waiting[list[S]]:
    """Open sockets as `Broker.open` does. Their addresses may name interfaces, and may come within `wait_s` seconds."""
    specs = specs if isinstance(specs, list | tuple) else list(specs)
    for spec in specs:
        if spec.bind is not None:
            return _open_bound(broker, take_fd, specs, wait_s)
    return broker.open(take_fd, specs, wait_s)


async def _open_bound(
    broker: Broker, take_fd: Callable[[SocketSpec, int], S], specs: Sequence[SocketSpec], wait_s: float
) -> list[S]:
    deadline = monotonic() + wait_s
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            return await broker.open(take_fd, await _number_interfaces(broker, specs, wait_s), wait_s)
        except OSError as error:
            if error.errno not in _MISSING or isinstance(error, Error) or monotonic() >= deadline:
                raise
        await wait(min(monotonic() + pause_s, deadline), ())
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        wait_s = max(0, deadline - monotonic())


async def _number_interfaces(broker: Broker, specs: Sequence[SocketSpec], wait_s: float) -> Sequence[SocketSpec]:
    """Replace the names of interfaces in addresses by their indexes. Each namespace is asked once for each name.

    Raises:
        OSError: there is no such interface (ENODEV), or as `Client.open`. `index` is the position of the spec.
    """
    found: dict[tuple[object, str], int] = {}
    for position, spec in enumerate(specs):
        for name in _interfaces_of(spec):
            if (spec.namespace, name) not in found:
                asked = SocketSpec(spec.namespace, spec.family, spec.type, spec.proto)
                try:
                    with (await broker.open(plain_socket, (asked,), wait_s))[0] as sock:
                        found[spec.namespace, name] = interface_index(sock, name)
                except OSError as error:
                    error.index = position  # type: ignore[attr-defined]  # as `Error.index`
                    raise
    if not found:
        return specs
    return [
        spec._replace(
            bind=spec.bind and _number(spec, spec.bind, found),
            also=tuple([_number(spec, address, found) for address in spec.also]),
        )
        for spec in specs
    ]


def _interfaces_of(spec: SocketSpec) -> list[str]:
    if spec.family != _INET6 or spec.bind is None:
        return []
    return [name for address in (spec.bind, *spec.also) if (name := _interface_of(address))]


def _interface_of(address: Address) -> str:
    """Return the name of the interface in an IPv6 address, or "". The broker refuses addresses of any other shape."""
    host = address[0] if len(address) in (2, 4) else ""
    return host.partition("%")[2] if isinstance(host, str) else ""


def _number(spec: SocketSpec, address: Address, found: dict[tuple[object, str], int]) -> Address:
    name = _interface_of(address) if spec.family == _INET6 else ""
    if not name:
        return address
    host, port, flowinfo, _ = (*address, 0, 0)[:4]
    return str(host).partition("%")[0], int(port), int(flowinfo), found[spec.namespace, name]
