"""xmlrpc.client in a namespace."""

from __future__ import annotations

import ssl
import xmlrpc.client
from typing import Any

import pytest

from nsbroker.adapters.xmlrpc_client import SafeTransport, Transport
from support.adapters.example_org import CLIENT, HOST, UNTRUSTED, ExampleOrg

pytestmark = pytest.mark.usefixtures("web")


def call_twice(namespace: str, url: str) -> list[Any]:
    transport = SafeTransport(namespace) if url.startswith("https:") else Transport(namespace)
    with xmlrpc.client.ServerProxy(url, transport=transport) as server:
        return [server.peer(), server.peer()]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_calls_come_from_the_namespace(site: ExampleOrg, scheme: str) -> None:
    assert site.run(call_twice, f"{scheme}://{HOST}/RPC2") == [CLIENT, CLIENT]


def fail_to_verify(namespace: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        call_twice(namespace, f"https://{UNTRUSTED}/RPC2")


def test_wrong_certificate_is_refused(site: ExampleOrg) -> None:
    site.run(fail_to_verify)
