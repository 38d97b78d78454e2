"""The HTTP clients that wait, each with the same few functions and with the errors that its users know."""

from __future__ import annotations

import http.client
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import httpx
import requests
import urllib3

from nsbroker.adapters.http_client import HTTPConnection, HTTPSConnection
from nsbroker.adapters.httpx import HTTPTransport
from nsbroker.adapters.requests import Session
from nsbroker.adapters.urllib3 import PoolManager, ProxyManager
from nsbroker.adapters.urllib_request import build_opener
from support.adapters.web_errors import WebErrors


class WebClient:
    """A library. `get` requests URLs one after another with one client, and returns the content of each answer."""

    errors: WebErrors
    certificate_text = "certificate"
    follows_redirects = True
    keeps_connections = True

    def __str__(self) -> str:
        return type(self).__name__

    def get(self, namespace: str, urls: Iterable[str], timeout_s: float, proxy: str | None) -> list[str]:
        raise NotImplementedError


class HttpClient(WebClient):
    """One kept connection for each server. It reconnects by itself."""

    errors = WebErrors(socket.gaierror, ConnectionRefusedError, ssl.SSLCertVerificationError, TimeoutError,
                       TimeoutError, http.client.RemoteDisconnected, PermissionError)  # fmt: skip
    follows_redirects = False

    def get(self, namespace: str, urls: Iterable[str], timeout_s: float, proxy: str | None) -> list[str]:
        connections: dict[str, http.client.HTTPConnection] = {}
        answers = []
        for url in urls:
            parts = urlsplit(url)
            kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
            place = proxy or parts.netloc
            connection = connections.setdefault(place, kind(namespace, place, timeout=timeout_s))
            connection.request("GET", url if proxy else parts.path)
            answers.append(connection.getresponse().read().decode())
        for connection in connections.values():
            connection.close()
        return answers


class Urllib(WebClient):
    """An opener, with a new connection for each request."""

    errors = WebErrors(urllib.error.URLError, urllib.error.URLError, urllib.error.URLError, urllib.error.URLError,
                       TimeoutError, http.client.RemoteDisconnected, urllib.error.URLError)  # fmt: skip
    keeps_connections = False

    def get(self, namespace: str, urls: Iterable[str], timeout_s: float, proxy: str | None) -> list[str]:
        proxies = [urllib.request.ProxyHandler({"http": f"http://{proxy}"})] if proxy else []
        opener = build_opener(namespace, *proxies)
        return [self._open(opener, url, timeout_s) for url in urls]

    def _open(self, opener: urllib.request.OpenerDirector, url: str, timeout_s: float) -> str:
        with opener.open(url, timeout=timeout_s) as answer:
            return str(answer.read().decode())


class Urllib3(WebClient):
    """A pool of connections."""

    errors = WebErrors(urllib3.exceptions.NameResolutionError, urllib3.exceptions.NewConnectionError,
                       urllib3.exceptions.SSLError, urllib3.exceptions.ConnectTimeoutError,
                       urllib3.exceptions.ReadTimeoutError, urllib3.exceptions.ProtocolError,
                       urllib3.exceptions.NewConnectionError)  # fmt: skip

    def get(self, namespace: str, urls: Iterable[str], timeout_s: float, proxy: str | None) -> list[str]:
        settings: dict[str, Any] = {
            "timeout": timeout_s,
            "retries": urllib3.Retry(None, connect=0, read=0, other=0, redirect=3),
        }
        pools = ProxyManager(namespace, f"http://{proxy}") if proxy else PoolManager(namespace)
        with pools:
            try:
                return [pools.request("GET", url, **settings).data.decode() for url in urls]
            except urllib3.exceptions.MaxRetryError as error:
                raise error.reason or error from error


class Requests(WebClient):
    """A session."""

    errors = WebErrors(requests.ConnectionError, requests.ConnectionError, requests.exceptions.SSLError,
                       requests.ConnectTimeout, requests.ReadTimeout, requests.ConnectionError,
                       requests.ConnectionError)  # fmt: skip

    def get(self, namespace: str, urls: Iterable[str], timeout_s: float, proxy: str | None) -> list[str]:
        with Session(namespace) as session:
            session.verify = ssl.get_default_verify_paths().cafile or True
            session.proxies = {"http": f"http://{proxy}"} if proxy else {}
            return [session.get(url, timeout=timeout_s).text for url in urls]


class Httpx(WebClient):
    """A client with a transport."""

    errors = WebErrors(httpx.ConnectError, httpx.ConnectError, httpx.ConnectError, httpx.ConnectTimeout,
                       httpx.ReadTimeout, httpx.RemoteProtocolError, httpx.ConnectError)  # fmt: skip

    def get(self, namespace: str, urls: Iterable[str], timeout_s: float, proxy: str | None) -> list[str]:
        transport = HTTPTransport(namespace, proxy=f"http://{proxy}" if proxy else None)
        with httpx.Client(transport=transport, timeout=timeout_s, follow_redirects=True) as client:
            return [client.get(url).text for url in urls]
