"""The HTTP clients for event loops."""

from __future__ import annotations

import ssl
from collections.abc import Iterable

import aiohttp
import anyio
import httpx

from nsbroker.adapters.aiohttp import TCPConnector
from nsbroker.adapters.httpx import AsyncHTTPTransport
from support.adapters.web_clients import WebClient
from support.adapters.web_errors import WebErrors


class HttpxAsync(WebClient):
    """A client with a transport, on asyncio or trio."""

    errors = WebErrors(httpx.ConnectError, httpx.ConnectError, httpx.ConnectError, httpx.ConnectTimeout,
                       httpx.ReadTimeout, httpx.RemoteProtocolError, httpx.ConnectError)  # fmt: skip

    def __init__(self, backend: str) -> None:
        self._backend = backend

    def __str__(self) -> str:
        return f"HttpxAsync-{self._backend}"

    def get(self, namespace: str, urls: Iterable[str], timeout_s: float, proxy: str | None) -> list[str]:
        return anyio.run(self._get, namespace, urls, timeout_s, proxy, backend=self._backend)

    async def _get(self, namespace: str, urls: Iterable[str], timeout_s: float, proxy: str | None) -> list[str]:
        transport = AsyncHTTPTransport(namespace, proxy=f"http://{proxy}" if proxy else None)
        async with httpx.AsyncClient(transport=transport, timeout=timeout_s, follow_redirects=True) as client:
            return [(await client.get(url)).text for url in urls]


class Aiohttp(WebClient):
    """A session with a connector."""

    errors = WebErrors(aiohttp.ClientConnectorDNSError, aiohttp.ClientConnectorError,
                       aiohttp.ClientConnectorCertificateError, aiohttp.ServerTimeoutError,
                       aiohttp.ServerTimeoutError, aiohttp.ServerDisconnectedError,
                       aiohttp.ClientConnectorError)  # fmt: skip

    def get(self, namespace: str, urls: Iterable[str], timeout_s: float, proxy: str | None) -> list[str]:
        return anyio.run(self._get, namespace, urls, timeout_s, f"http://{proxy}" if proxy else None)

    async def _get(self, namespace: str, urls: Iterable[str], timeout_s: float, proxy: str | None) -> list[str]:
        timeout = aiohttp.ClientTimeout(sock_connect=timeout_s, sock_read=timeout_s)
        # aiohttp makes its default context at its import, before the test sets the authority to trust.
        connector = TCPConnector(namespace, ssl=ssl.create_default_context())
        answers = []
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            for url in urls:
                async with session.get(url, proxy=proxy) as answer:
                    answers.append(await answer.text())
        return answers
