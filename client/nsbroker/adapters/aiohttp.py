"""aiohttp in a namespace.

A session uses the proxies of the environment only if you set `trust_env`. It reaches proxies in the namespace.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import aiohttp
import aiohttp.abc

from ..drivers.asyncio import run
from ..drivers.thread import run as run_in_thread
from ..link.broker import plain_socket
from ._namespace import InNamespace, NamespaceLike, as_namespace, require
from ._place import place_of
from .asyncio import getaddrinfo

require(aiohttp.TCPConnector, "_wrap_create_connection")

_prepared: ContextVar[list[socket.socket]] = ContextVar("_prepared")
"""The sockets for the connection that the current task makes."""


class Resolver(InNamespace, aiohttp.abc.AbstractResolver):
    """A resolver for aiohttp that looks up names in a namespace. `TCPConnector` has one.

    Args:
        namespace: the namespace of the look-ups.

    Example:
        >>> resolver = Resolver("blue")
        >>> [address] = await resolver.resolve("www.example.org", 80)
        >>> address["port"]
        80
    """

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        """Return the addresses of a host. aiohttp calls this.

        Raises:
            OSError: the name does not exist, or no name server answers.
        """
        found = await getaddrinfo(
            self._namespace, host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
        return [_result(host, other, proto, address) for other, _, proto, _, address in found]

    async def close(self) -> None:
        """Do nothing, since a resolver keeps no socket open."""


def _result(hostname: str, family: int, proto: int, address: tuple[Any, ...]) -> aiohttp.abc.ResolveResult:
    host, port, _, scope_id = (*address, 0, 0)[:4]
    return {
        "hostname": hostname,
        "host": f"{host}%{scope_id}" if scope_id else host,
        "port": port,
        "family": family,
        "proto": proto,
        "flags": socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    }


_NOT_FOR_YOU = {
    "resolver": "it looks names up in the namespace, and another resolver could ask name servers outside; leave it out",
    "socket_factory": "it gets its sockets from the broker; leave it out, and give options to Namespace(mark=...)",
}
"""The arguments that a connector sets by itself, and why."""


class TCPConnector(aiohttp.TCPConnector):
    """`aiohttp.TCPConnector` in a namespace.

    Args:
        namespace: the namespace of the connections and of the look-ups.
        local_addr: (host, port) to bind to. The host is looked up in the namespace.
        kwargs: as for `aiohttp.TCPConnector`, except resolver and socket_factory.

    Raises:
        TypeError: a resolver or a socket_factory was given.

    Example:
        >>> async with aiohttp.ClientSession(connector=TCPConnector("blue")) as session:
        ...     response = await session.get("http://www.example.org/")
        >>> response.status
        200
    """

    def __init__(self, namespace: NamespaceLike, *, local_addr: tuple[str, int] | None = None, **kwargs: Any) -> None:
        for name, reason in _NOT_FOR_YOU.items():
            if kwargs.pop(name, None) is not None:
                raise TypeError(f"a TCPConnector in a namespace takes no {name}: {reason}")
        namespace = as_namespace(namespace)
        self._place = place_of(namespace)
        self._own_address = local_addr
        super().__init__(resolver=Resolver(namespace), socket_factory=self._make_socket, **kwargs)

    def _make_socket(self, info: Sequence[Any]) -> socket.socket:
        """Return one of the sockets that were opened before without blocking the loop."""
        family, socket_type, proto, *_ = info
        prepared = _prepared.get([])
        for sock in prepared:
            if sock.family == family:
                prepared.remove(sock)
                return sock
        return run_in_thread(self._place.open_one(family, socket_type, proto))

    async def _look_up_own(self, host: str, port: int) -> list[Any]:
        passive = socket.AI_PASSIVE
        return await run(self._place.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=passive))

    async def _wrap_create_connection(
        self,
        *args: Any,
        addr_infos: Any,
        req: Any,
        client_error: Any = aiohttp.ClientConnectorError,
        **kwargs: Any,
    ) -> Any:
        # aiohttp's factory of sockets can't wait, so one request opens all sockets before aiohttp calls it.
        try:
            async with asyncio.timeout(kwargs["timeout"].sock_connect):
                if self._own_address is not None:
                    # aiohttp's own addr_to_addr_infos leaves a name to `socket.bind`.
                    self._local_addr_infos = await self._look_up_own(*self._own_address)
                prepared = await run(
                    self._place.open(plain_socket, [self._place.spec(*info[:3]) for info in addr_infos])
                )
        except OSError as error:
            raise client_error(req.connection_key, error) from error
        token = _prepared.set(prepared)
        try:
            return await super()._wrap_create_connection(
                *args, addr_infos=addr_infos, req=req, client_error=client_error, **kwargs
            )
        finally:
            _prepared.reset(token)
            for sock in prepared:
                sock.close()
