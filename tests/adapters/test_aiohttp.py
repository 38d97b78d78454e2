"""aiohttp's connector in a namespace, beyond the requests that all HTTP clients make."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from nsbroker.adapters.aiohttp import Resolver, TCPConnector
from support.adapters.example_org import HOST, UNKNOWN, ExampleOrg


async def make_connector(namespace: str, **arguments: Any) -> str:
    with pytest.raises(TypeError) as raised:
        TCPConnector(namespace, **arguments)
    return str(raised.value)


def refuse(namespace: str) -> tuple[str, str]:
    resolver, factory = {"resolver": Resolver(namespace)}, {"socket_factory": print}
    return asyncio.run(make_connector(namespace, **resolver)), asyncio.run(make_connector(namespace, **factory))


def test_arguments_that_would_lead_outside_are_refused_with_the_reason(site: ExampleOrg) -> None:
    assert site.run(refuse) == (
        "a TCPConnector in a namespace takes no resolver: it looks names up in the namespace, and another resolver "
        "could ask name servers outside; leave it out",
        "a TCPConnector in a namespace takes no socket_factory: it gets its sockets from the broker; leave it out, and "
        "give options to Namespace(mark=...)",
    )


async def get(namespace: str, local_host: str) -> str:
    connector = TCPConnector(namespace, local_addr=(local_host, 0), resolver=None)
    async with aiohttp.ClientSession(connector=connector) as session, session.get(f"http://{HOST}/peer") as response:
        return await response.text()


def fail_from(namespace: str) -> str:
    with pytest.raises(aiohttp.ClientConnectorError) as raised:
        asyncio.run(get(namespace, UNKNOWN))
    return type(raised.value.os_error).__name__


@pytest.mark.usefixtures("web")
def test_unknown_local_address_is_an_error_of_the_connector(site: ExampleOrg) -> None:
    assert site.run(fail_from) == "gaierror"
