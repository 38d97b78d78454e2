"""The connect loop: the addresses of a host, one after the other or in the race of happy eyeballs (RFC 8305)."""

from __future__ import annotations

import itertools
import socket
from time import monotonic

from ..link.broker import plain_socket
from ..link.errors import Error
from ..link.waiting import connect, wait
from .options import add_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, TypeAlias, TypeVar

    from ..link.waiting import Sockets, Waiting
    from ..names.numeric import AddressInfo, SocketAddress
    from ..wire.messages import Option, SocketSpec
    from .place import Place

    T = TypeVar("T")

    LocalAddress: TypeAlias = tuple[str | None, int | str | None]

STREAM = int(socket.SOCK_STREAM)


async def connect_tcp(
    place: Place,
    host: str | bytes | None,
    port: int | str | bytes | None,
    *,
    family: int = 0,
    proto: int = 0,
    flags: int = 0,
    local_addr: LocalAddress | None = None,
    stagger_s: float | None = 0.25,
    interleave_from: int = 1,
) -> socket.socket:
    """Connect to a host. The caller owns the socket, which is plain and non-blocking.

    Args:
        place: the namespace.
        host: a name or an address. `None` is the loopback address.
        port: a number, or the name of a service.
        family: the family of addresses to use, or 0 for all.
        proto: as for getaddrinfo.
        flags: as for getaddrinfo.
        local_addr: (host, port) to bind to, looked up as well.
        stagger_s: seconds after which the next address is tried beside the last one. `None` waits for its failure.
        interleave_from: the number of addresses of the first family before the families take turns, or 0 for no turns.

    Raises:
        socket.gaierror: a name has no address.
        ExceptionGroup: of OSErrors: no address could be reached.
        Error: as `Client.open`.
    """
    found = await place.stream_addresses(host, port, family, proto, flags)
    local = None
    if local_addr is not None:
        local = await place.getaddrinfo(*local_addr, family, STREAM, proto, flags)
    ordered = interleave(found, interleave_from) if interleave_from else found
    return await connect_to(place, ordered, local=local, stagger_s=stagger_s)


async def connect_to(
    place: Place,
    addresses: Iterable[AddressInfo],
    *,
    local: Sequence[AddressInfo] | None = None,
    options: Sequence[Option] = (),
    stagger_s: float | None = 0.25,
) -> socket.socket:
    """Connect to one of these addresses. The caller owns the socket, which is plain and non-blocking.

    Args:
        place: the namespace.
        addresses: in the order to try them.
        local: the addresses to bind to: the first one of the socket's family that works.
        options: options that the broker sets.
        stagger_s: as for `connect_tcp`.

    Raises:
        ExceptionGroup: of OSErrors: no address could be reached.
        Error: as `Client.open`.
    """

    async def finish(sock: socket.socket, address: SocketAddress) -> None:
        if local is not None:
            bind_to_one(sock, [each for family, _, _, _, each in local if family == sock.family])
        await connect(sock, address)

    attempts = []
    for family, socket_type, proto, _, address in addresses:
        spec = place.spec(family, socket_type, proto)
        if options:
            spec = spec._replace(options=add_options(spec.options, options))
        attempts.append(_attempt(place, spec, finish, address))
    return await race(attempts, stagger_s)


async def connect_in_turn(
    place: Place,
    host: str | None,
    port: int | str | None,
    family: int,
    options: Sequence[Option],
    prepare: Callable[[socket.socket], None],
) -> socket.socket:
    """Connect to a host as `socket.create_connection` does: one address after the other, on sockets that may block.

    Args:
        place: the namespace.
        host: a name or an address. `None` is the loopback address.
        port: a number, or the name of a service.
        family: the family of addresses to use, or 0 for all.
        options: options that the broker sets.
        prepare: sets the timeout and other options of each socket, and binds it, before it connects.

    Raises:
        socket.gaierror: a name has no address.
        ExceptionGroup: of OSErrors: no address could be reached.
    """
    found = await place.stream_addresses(host, port, family)

    async def finish(sock: socket.socket, address: SocketAddress) -> None:
        prepare(sock)
        sock.connect(address)  # It may block here, with its own timeout.

    specs = [place.blocking_spec(*info[:3]) for info in found]
    if options:
        specs = [spec._replace(options=add_options(spec.options, options)) for spec in specs]
    attempts = [_attempt(place, spec, finish, info[4]) for spec, info in zip(specs, found, strict=True)]
    return await race(attempts, None, fatal=())


async def _attempt(
    place: Place,
    spec: SocketSpec,
    finish: Callable[[socket.socket, SocketAddress], Waiting[None]],
    address: SocketAddress,
) -> socket.socket:
    [sock] = await place.open(plain_socket, (spec,))
    try:
        await finish(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


async def race(
    attempts: Sequence[Waiting[T]],
    stagger_s: float | None,
    fatal: type[OSError] | tuple[()] = Error,
    clock: Callable[[], float] = monotonic,
) -> T:
    """Return the result of the first attempt that succeeds. The others are ended, and close everything they have open.

    This does no input or output itself. It only combines the waits of the attempts.

    Args:
        attempts: in order. The next one begins when the last one failed, or `stagger_s` after it began.
        stagger_s: seconds. `None` waits for the failure.
        fatal: errors that end the race. The broker's own refusals would be the same for each attempt.
        clock: returns seconds, in the time of the deadlines of waits.

    Raises:
        ExceptionGroup: of OSErrors, when all attempts failed.
    """
    waiting = [*attempts]
    waiting.reverse()
    running: dict[Waiting[T], tuple[float, Sockets]] = {}
    failures: list[OSError] = []
    try:
        while waiting and stagger_s is None:
            try:
                return await waiting.pop()  # Without a stagger there is only one wait at a time.
            except fatal:
                raise
            except OSError as error:
                failures.append(error)
        next_start = clock()
        while waiting or running:
            ready: list[tuple[Waiting[T], Sockets | None]] = []
            if waiting and clock() >= next_start:
                next_start = clock() + (stagger_s or 0)
                ready.append((waiting.pop(), None))
            else:
                deadline = min([end for end, _ in running.values()] + [next_start] * bool(waiting))
                pairs = await wait(deadline, tuple(pair for _, sockets in running.values() for pair in sockets))
                for attempt, (end, sockets) in running.items():
                    mine = tuple(pair for pair in sockets if pair in pairs)
                    if mine or end <= clock():
                        ready.append((attempt, mine))
            for attempt, answer in ready:
                running.pop(attempt, None)
                try:
                    running[attempt] = attempt.send(answer)
                except StopIteration as done:
                    result: T = done.value
                    return result
                except fatal:
                    raise
                except OSError as error:
                    failures.append(error)
                    next_start = clock()
        raise ExceptionGroup("every attempt failed", failures)
    finally:
        for attempt in (*waiting, *running):
            attempt.close()
        failures.clear()  # A traceback that holds its own exception would be a cycle.


def bind_to_one(sock: socket.socket, addresses: Sequence[tuple[Any, ...]]) -> None:
    """Bind to the first of these addresses that the namespace has. The texts of errors are asyncio's.

    Raises:
        OSError: as bind(2), or there is no address of the socket's family.
    """
    problem = OSError(f"no matching local address with family={sock.family!r} found")
    for address in addresses:
        try:
            return sock.bind(address)
        except OSError as error:
            text = f"error while attempting to bind on address {address!r}: {str(error.strerror).lower()}"
            problem = OSError(error.errno, text)
    raise problem


def interleave(found: list[AddressInfo], first: int = 1) -> list[AddressInfo]:
    """Let the families take turns after `first` addresses of the first family. Source: RFC 8305, section 4."""
    families: dict[int, list[AddressInfo]] = {}
    for info in found:
        families.setdefault(info[0], []).append(info)
    lists = list(families.values())
    head, lists[:1] = (lists[0][: first - 1], [lists[0][first - 1 :]]) if lists else ([], [])
    turns = itertools.chain.from_iterable(itertools.zip_longest(*lists))
    return head + [info for info in turns if info is not None]
