"""Opens sockets that the broker binds: looks up the hosts and interfaces of addresses, and waits for addresses."""

from __future__ import annotations

import errno
import socket
from functools import lru_cache, partial
from time import monotonic

from ..link.broker import plain_socket
from ..link.errors import Error
from ..link.waiting import wait
from ..names.numeric import interface_index, is_name
from ..wire.messages import SocketSpec
from .options import at_birth_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, TypeVar

    from ..link.broker import Broker
    from ..link.waiting import Waiting
    from ..names.resolver import Resolver
    from ..wire.messages import Address
    from .options import AtBirth

    S = TypeVar("S", bound=socket.SocketType)

_INET, _INET6 = int(socket.AF_INET), int(socket.AF_INET6)
_INET_FAMILIES = frozenset((_INET, _INET6))
_STREAM, _NONBLOCK = int(socket.SOCK_STREAM), int(socket.SOCK_NONBLOCK)
_MISSING = frozenset({errno.EADDRNOTAVAIL, errno.ENODEV})
"""There is no such interface, none has the address, or IPv6 has not checked yet whether the address is unique."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0
"""Each attempt costs the broker a request and a line of the audit, so the pauses grow."""
_SEQUENCES = (list, tuple)
"""Not `list | tuple`, which would make an object for each call."""


def open_sockets(
    broker: Broker,
    take_fd: Callable[[SocketSpec, int], S],
    specs: Iterable[SocketSpec],
    wait_s: float = 0,
    stock: int = 0,
) -> Waiting[list[S]]:
    """Open sockets as `Broker.open` does.

    Their addresses may name hosts and interfaces, which are looked up in the namespace, and may come within `wait_s`
    seconds. Of a host, the first address of the socket's family counts. One socket alone can come from a `stock` of
    this size.
    """
    specs = specs if isinstance(specs, _SEQUENCES) else list(specs)
    for spec in specs:
        if spec.bind is not None:
            return _open_bound(broker, take_fd, specs, wait_s)
    if stock and len(specs) == 1:
        return broker.stock.open(broker, take_fd, specs[0], wait_s, stock)
    return broker.open(take_fd, specs, wait_s)


async def _open_bound(
    broker: Broker, take_fd: Callable[[SocketSpec, int], S], specs: Sequence[SocketSpec], wait_s: float
) -> list[S]:
    deadline = monotonic() + wait_s
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            return await broker.open(take_fd, await _numeric(broker, specs, wait_s), wait_s)
        except OSError as error:
            if error.errno not in _MISSING or isinstance(error, Error) or monotonic() >= deadline:
                raise
        await wait(min(monotonic() + pause_s, deadline), ())
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        wait_s = max(0, deadline - monotonic())


async def _numeric(broker: Broker, specs: Sequence[SocketSpec], wait_s: float) -> Sequence[SocketSpec]:
    """Replace the names in addresses. Each namespace is asked once for each name.

    Raises:
        OSError: there is no such interface (ENODEV) or host (a `socket.gaierror`), or as `Client.open`. `index` is the
            position of the spec.
    """
    if not _have_names(specs):
        return specs
    look_ups = _LookUps(broker, wait_s)
    numeric = []
    for position, spec in enumerate(specs):
        try:
            numeric.append(await look_ups.numeric_spec(spec) if _has_names(spec) else spec)
        except OSError as error:
            error.index = position  # type: ignore[attr-defined]  # as `Error.index`
            raise
    return numeric


def _have_names(specs: Sequence[SocketSpec]) -> bool:
    """Return whether an address of a socket has a name. Mostly, all sockets of a batch have one host."""
    last: tuple[object, ...] = ()
    for spec in specs:
        _, family, _, _, bind, _, _, also = spec
        alike = (family, len(bind), bind[0]) if bind and not also else ()
        if not alike or alike != last:
            if _has_names(spec):
                return True
            last = alike
    return False


def _has_names(spec: SocketSpec) -> bool:
    _, family, _, _, bind, _, _, also = spec
    if bind is None or family not in _INET_FAMILIES:
        return False
    return _has_name(bind, family) or any(_has_name(address, family) for address in also)


def _has_name(address: Address, family: int) -> bool:
    """Return whether an address has a name. The broker refuses addresses of any other shape."""
    host = address[0] if len(address) in (2, 4) else ""
    return isinstance(host, str) and _is_name(host, family)


@lru_cache(256)  # mostly, all sockets of a batch have one host
def _is_name(host: str, family: int) -> bool:
    return is_name(host, family) or (family == _INET6 and "%" in host)


class _LookUps:
    """The look-ups of the names in one batch."""

    def __init__(self, broker: Broker, wait_s: float) -> None:
        self._broker = broker
        self._wait_s = wait_s
        self._resolvers: dict[tuple[object, AtBirth], Resolver] = {}
        self._hosts: dict[tuple[Resolver, int, str], tuple[Any, ...]] = {}
        self._interfaces: dict[tuple[object, str], int] = {}

    async def numeric_spec(self, spec: SocketSpec) -> SocketSpec:
        """Return a spec without names."""
        addresses: list[Any] = [spec.bind, *spec.also]
        for index, address in enumerate(addresses):
            if _has_name(address, spec.family):
                addresses[index] = await self._numeric_address(spec, address)
        return spec._replace(bind=addresses[0], also=tuple(addresses[1:]))

    async def _numeric_address(self, spec: SocketSpec, address: Any) -> Address:
        host, port, flowinfo, scope_id = (*address, 0, 0)[:4]
        if is_name(host, spec.family):
            found = await self._host(spec, host)
            host, scope_id = found[0], scope_id or (*found, 0, 0)[3]
        if spec.family == _INET:
            return (host, *address[1:])
        host, _, interface = host.partition("%")
        return host, port, flowinfo, await self._interface(spec, interface) if interface else scope_id

    async def _host(self, spec: SocketSpec, host: str) -> tuple[Any, ...]:
        resolver = await self._resolver(spec)
        key = resolver, spec.family, host
        if key not in self._hosts:
            self._hosts[key] = (await resolver.getaddrinfo(host, 0, spec.family, _STREAM))[0][4]
        return self._hosts[key]

    async def _resolver(self, spec: SocketSpec) -> Resolver:
        """Return the resolver of a spec. Its sockets have the spec's options from birth, for example its mark."""
        from ..names.resolver import Resolver

        namespace, at_birth = key = spec.namespace, at_birth_of(spec.options)

        def open_socket(family: int, type: int, proto: int = 0) -> Waiting[socket.socket]:  # noqa: A002  # the socket module's own name
            return self._open(SocketSpec(namespace, family, type | _NONBLOCK, proto, options=at_birth.of(family)))

        if key not in self._resolvers:
            if self._wait_s:
                # The broker waits for a namespace in requests for sockets, but not in those for files.
                (await open_socket(spec.family, spec.type, spec.proto)).close()
            name = namespace if isinstance(namespace, str) else ""
            read_files = partial(self._broker.read_resolver_files, namespace)
            self._resolvers[key] = Resolver(open_socket, read_files, name)
        return self._resolvers[key]

    async def _interface(self, spec: SocketSpec, name: str) -> int:
        key = spec.namespace, name
        if key not in self._interfaces:
            with await self._open(SocketSpec(spec.namespace, spec.family, spec.type, spec.proto)) as sock:
                self._interfaces[key] = interface_index(sock, name)
        return self._interfaces[key]

    async def _open(self, spec: SocketSpec) -> socket.socket:
        return (await self._broker.open(plain_socket, (spec,), self._wait_s))[0]
