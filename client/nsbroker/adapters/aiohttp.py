"""aiohttp in a namespace.

    async with aiohttp.ClientSession(connector=TCPConnector("blue")) as session:
        await session.get("http://www.example.org/")

A session does not use the environment's proxies unless it is told to (`trust_env`); proxies are reached in the
namespace.
"""

from __future__ import annotations

import asyncio
import socket
from contextvars import ContextVar
from typing import TYPE_CHECKING

import aiohttp
import aiohttp.abc

from ..drivers.asyncio import run
from ..place.place import place_of
from ._hooks import require
from ._namespace import as_namespace
from .asyncio import getaddrinfo

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ..module.namespace import Namespace
    from ..wire.messages import NamespaceRef

require(aiohttp.TCPConnector, "_wrap_create_connection")

_prepared: ContextVar[list[socket.socket]] = ContextVar("_prepared")
"""Sockets for the connection that this task is making."""


class Resolver(aiohttp.abc.AbstractResolver):
    """A resolver for aiohttp that looks names up in a namespace."""

    def __init__(self, namespace: Namespace | NamespaceRef) -> None:
        self._namespace = as_namespace(namespace)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        """Look up a host.

        Raises:
            OSError: there is no such name, or no answer.
        """
        found = await getaddrinfo(
            self._namespace, host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
        return [_result(host, other, proto, address) for other, _, proto, _, address in found]

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""


def _result(hostname: str, family: int, proto: int, address: tuple[Any, ...]) -> aiohttp.abc.ResolveResult:
    scope = f"%{address[3]}" if len(address) == 4 and address[3] else ""
    return {
        "hostname": hostname,
        "host": f"{address[0]}{scope}",
        "port": address[1],
        "family": family,
        "proto": proto,
        "flags": socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    }


class TCPConnector(aiohttp.TCPConnector):
    """`aiohttp.TCPConnector` in a namespace, without `resolver` and `socket_factory`: it has its own."""

    def __init__(self, namespace: Namespace | NamespaceRef, **kwargs: Any) -> None:
        namespace = as_namespace(namespace)
        self._place = place_of(namespace)
        super().__init__(resolver=Resolver(namespace), socket_factory=self._make_socket, **kwargs)

    def _make_socket(self, info: Sequence[Any]) -> socket.socket:
        """Give one of the sockets that were opened without blocking the loop."""
        family, kind, proto = info[:3]
        prepared = _prepared.get([])
        for sock in prepared:
            if sock.family == family:
                prepared.remove(sock)
                return sock
        return self._place.open_now(family, kind, proto)

    async def _wrap_create_connection(
        self,
        *args: Any,
        addr_infos: Any,
        req: Any,
        client_error: Any = aiohttp.ClientConnectorError,
        **kwargs: Any,
    ) -> Any:
        # aiohttp's factory of sockets can't wait, so they are there before it is called, all by one question.
        try:
            async with asyncio.timeout(kwargs["timeout"].sock_connect):
                prepared = await run(self._place.open([self._place.spec(*info[:3]) for info in addr_infos]))
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
