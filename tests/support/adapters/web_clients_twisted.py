"""Twisted's HTTP client."""

from __future__ import annotations

import ssl
import sys
import warnings
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet import defer, error
from twisted.internet.main import installReactor
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    BrowserLikePolicyForHTTPS,
    BrowserLikeRedirectAgent,
    HTTPConnectionPool,
    ProxyAgent,
    ResponseNeverReceived,
    readBody,
)

from nsbroker.adapters.twisted import EndpointFactory, HostnameEndpoint
from support.adapters.web_clients import WebClient
from support.adapters.web_errors import WebErrors


class Twisted(WebClient):
    """An agent with a pool, in a reactor of its own."""

    errors = WebErrors(error.DNSLookupError, error.ConnectionRefusedError, ResponseNeverReceived, error.TimeoutError,
                       ResponseNeverReceived, ResponseNeverReceived, error.ConnectError)  # fmt: skip
    certificate_text = "DNSMismatch"

    def get(self, namespace: str, urls: Iterable[str], timeout_s: float, proxy: str | None) -> list[str]:
        answers: list[str] = run_reactor(partial(_get, namespace, urls=urls, timeout_s=timeout_s, proxy=proxy))
        return answers


def run_reactor(work: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
    """Run a new reactor until `work(reactor)` ends, and return its result."""
    warnings.simplefilter("ignore", DeprecationWarning)  # readBody misses a method of Twisted's own transports.
    reactor = _new_reactor()
    results: list[Any] = []
    done = defer.Deferred.fromCoroutine(work(reactor))
    done.addBoth(results.append)
    done.addBoth(lambda _: reactor.stop())
    reactor.run(installSignalHandlers=False)
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]


def _new_reactor() -> Any:
    """Make a new reactor and install it: Twisted's TLS uses the installed one, and a reactor can't run twice."""
    sys.modules.pop("twisted.internet.reactor", None)
    reactor: Any = SelectReactor()
    installReactor(reactor)
    return reactor


async def _get(namespace: str, reactor: Any, *, urls: Iterable[str], timeout_s: float, proxy: str | None) -> list[str]:
    pool = HTTPConnectionPool(reactor)
    agent = _make_agent(namespace, reactor, pool, timeout_s, proxy)
    answers = []
    try:
        for url in urls:
            asked = agent.request(b"GET", url.encode()).addTimeout(timeout_s * 2, reactor)
            answers.append((await readBody(await asked)).decode())
    finally:
        await pool.closeCachedConnections()
    return answers


def _make_agent(namespace: str, reactor: Any, pool: HTTPConnectionPool, timeout_s: float, proxy: str | None) -> Any:
    if proxy:
        host, _, port = proxy.partition(":")
        return ProxyAgent(HostnameEndpoint(namespace, reactor, host, int(port)), reactor, pool)
    authority = Certificate.loadPEM(Path(str(ssl.get_default_verify_paths().cafile)).read_bytes())
    policy = BrowserLikePolicyForHTTPS(trustRootFromCertificates([authority]))
    endpoints = EndpointFactory(namespace, reactor, policy, timeout_s)
    return BrowserLikeRedirectAgent(Agent.usingEndpointFactory(reactor, endpoints, pool))
