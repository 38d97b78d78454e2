"""Options that need the broker's rights, in the `socket_options` of each library that has them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any

import httpcore
import httpx
import pytest
import requests
import trio
import urllib3

from nsbroker.adapters.httpcore import AsyncNetworkBackend, NetworkBackend
from nsbroker.adapters.httpx import AsyncHTTPTransport, HTTPTransport
from nsbroker.adapters.requests import HTTPAdapter
from nsbroker.adapters.urllib3 import PoolManager
from support.adapters.example_org import CLIENT, HOST, MARK, ExampleOrg
from support.adapters.marks import sockets_of_the_broker

URL = f"http://{HOST}/peer"
Options = Sequence[tuple[int, int, int]]

pytestmark = pytest.mark.usefixtures("web")


def use_httpx(namespace: str, options: Options) -> str:
    with httpx.Client(transport=HTTPTransport(namespace, socket_options=options)) as client:
        return client.get(URL).text


async def use_async_httpx(namespace: str, options: Options) -> str:
    async with httpx.AsyncClient(transport=AsyncHTTPTransport(namespace, socket_options=options)) as client:
        return (await client.get(URL)).text


def use_httpx_on_asyncio(namespace: str, options: Options) -> str:
    return asyncio.run(use_async_httpx(namespace, options))


def use_httpx_on_trio(namespace: str, options: Options) -> str:
    return trio.run(use_async_httpx, namespace, options)


def use_httpcore(namespace: str, options: Options) -> str:
    backend = NetworkBackend(namespace)
    with httpcore.ConnectionPool(network_backend=backend, socket_options=options) as pool:
        return pool.request("GET", URL).content.decode()


async def use_async_httpcore(namespace: str, options: Options) -> str:
    backend = AsyncNetworkBackend(namespace)
    async with httpcore.AsyncConnectionPool(network_backend=backend, socket_options=options) as pool:
        return (await pool.request("GET", URL)).content.decode()


def use_httpcore_on_asyncio(namespace: str, options: Options) -> str:
    return asyncio.run(use_async_httpcore(namespace, options))


def use_urllib3(namespace: str, options: Options) -> str:
    return PoolManager(namespace, socket_options=options, retries=False).request("GET", URL).data.decode()


def use_requests(namespace: str, options: Options) -> str:
    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, **kwargs, socket_options=options)

    with requests.Session() as session:
        session.trust_env = False
        session.mount("http://", Adapter(namespace))
        return session.get(URL).text


Use = Callable[[str, Options], str]
USES = [
    use_httpx, use_httpx_on_asyncio, use_httpx_on_trio, use_httpcore, use_httpcore_on_asyncio, use_urllib3,
    use_requests,
]  # fmt: skip
ALL = pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__.removeprefix("use_"))
MARKED = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), (socket.SOL_SOCKET, socket.SO_MARK, MARK)]


def connect(namespace: str, use: Use, options: Options) -> tuple[str, set[int]]:
    with sockets_of_the_broker() as made:
        answer = use(namespace, options)
    return answer, {mark for kind, mark in made if kind == socket.SOCK_STREAM}


@ALL
def test_connection_has_the_mark_from_birth(site: ExampleOrg, use: Use) -> None:
    assert site.run(connect, use, MARKED) == (CLIENT, {MARK})


def fail(namespace: str, use: Use) -> str:
    errors = (
        httpx.ConnectError,
        httpcore.ConnectError,
        urllib3.exceptions.HTTPError,
        requests.ConnectionError,
        OSError,
    )
    with pytest.raises(errors) as raised:
        use(namespace, [(socket.SOL_SOCKET, socket.SO_MARK, MARK + 1)])
    return str(raised.value)


@ALL
def test_mark_without_a_grant_is_refused_by_name(site: ExampleOrg, use: Use) -> None:
    """The text of the library's error has the broker's reason."""
    assert f"mark={MARK + 1:#x}" in site.run(fail, use)
