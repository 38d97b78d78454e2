"""The socket spec of a listener: pure, with the defaults of `socket.create_server`."""

from __future__ import annotations

import socket
from functools import lru_cache

from ..names.numeric import numeric_host, numeric_port
from ..wire.messages import Address, NamespaceRef, Option, SocketSpec

DEFAULT_BACKLOG = 128
"""As `socket.listen` has it."""

_AF_INET6 = int(socket.AF_INET6)


def family_of(address: tuple[object, ...]) -> int:
    """Give the family that an address looks like: AF_INET6 with a ":" in the host or four items, else AF_INET."""
    return _AF_INET6 if len(address) == 4 or ":" in str(address[0]) else int(socket.AF_INET)


def bind_address(address: tuple[object, ...], family: int) -> Address:
    """Give the numeric address that the broker shall bind to.

    Raises:
        socket.gaierror: the host is a name, or the scope is.
        ValueError: it has not the shape of the family's addresses.
    """
    if len(address) < 2 or not isinstance(address[0], str):
        raise ValueError(f"an address is (host, port), not {address!r}")
    port = numeric_port(address[1])
    host, _, scope = address[0].partition("%")
    host = numeric_host(host, family)
    if family != _AF_INET6:
        return host, port
    flowinfo, scope_id = (*address[2:], 0, 0)[:2]
    if scope and not scope.isdecimal():
        text = f"give the number of the interface, not its name, in an address for the broker to bind: {scope!r}"
        raise socket.gaierror(socket.EAI_NONAME, text)
    return host, port, int(str(flowinfo)), int(str(scope_id)) or int(scope or 0)


def listener_spec(
    namespace: NamespaceRef,
    address: tuple[object, ...],
    family: int | None = None,
    backlog: int | None = None,
    *,
    reuse_port: bool = False,
    dualstack_ipv6: bool = False,
) -> SocketSpec:
    """Make the spec of a TCP listener that the broker binds, and makes listen.

    Raises:
        socket.gaierror: the host is a name.
        ValueError: the address has not the shape of the family's, or dual-stack is asked for without AF_INET6.
    """
    family = family_of(address) if family is None else int(family)
    if dualstack_ipv6 and family != _AF_INET6:
        raise ValueError("dualstack_ipv6 requires AF_INET6 family")
    options = server_options(family, reuse_port=reuse_port, dualstack_ipv6=dualstack_ipv6)
    backlog = DEFAULT_BACKLOG if backlog is None else max(0, backlog)
    kind = int(socket.SOCK_STREAM)
    return SocketSpec(namespace, family, kind, 0, bind_address(address, family), backlog, options)


@lru_cache(16)
def server_options(family: int, *, reuse_port: bool = False, dualstack_ipv6: bool = False) -> tuple[Option, ...]:
    """Give the options that `socket.create_server` sets."""
    options = [(int(socket.SOL_SOCKET), int(socket.SO_REUSEADDR), 1)]
    if reuse_port:
        options.append((int(socket.SOL_SOCKET), int(socket.SO_REUSEPORT), 1))
    if family == _AF_INET6:
        options.append((int(socket.IPPROTO_IPV6), int(socket.IPV6_V6ONLY), int(not dualstack_ipv6)))
    return tuple(options)
