"""Objects that their library can pickle and copy, which the adapters can as well."""

from __future__ import annotations

import copy
import http.client
import pickle
import urllib.request
import xmlrpc.client
from collections.abc import Callable
from typing import Any

import pytest
import requests
import requests.adapters

import nsbroker
from nsbroker.adapters import http_client, urllib_request, xmlrpc_client
from nsbroker.adapters import requests as adapted
from support.adapters.example_org import CLIENT, HOST, MARK, ExampleOrg
from support.adapters.marks import sockets_of_the_broker

Again = Callable[[Any], Any]


def unpickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


AGAIN = pytest.mark.parametrize("again", [unpickled, copy.copy, copy.deepcopy], ids=lambda again: again.__name__)


def session_get(session: requests.Session) -> str:
    return session.get(f"http://{HOST}/peer").text


def adapter_get(adapter: requests.adapters.HTTPAdapter) -> str:
    with requests.Session() as session:
        session.trust_env = False
        session.mount("http://", adapter)
        return session_get(session)


def connection_get(connection: http.client.HTTPConnection) -> str:
    connection.request("GET", "/peer")
    return connection.getresponse().read().decode()


def handler_get(handler: urllib.request.HTTPHandler) -> str:
    opener = urllib.request.OpenerDirector()
    opener.add_handler(handler)
    answer: bytes = opener.open(f"http://{HOST}/peer").read()
    return answer.decode()


def transport_get(transport: xmlrpc.client.Transport) -> str:
    connection: Any = transport.make_connection(HOST)
    return connection_get(connection)


Pair = tuple[Callable[[Any], Any], Callable[[Any], str]]
PAIRS: dict[str, Pair] = {
    "requests.Session": (adapted.Session, session_get),
    "requests.HTTPAdapter": (adapted.HTTPAdapter, adapter_get),
    "http.client": (lambda namespace: http_client.HTTPConnection(namespace, HOST, timeout=5), connection_get),
    "urllib.request": (urllib_request.HTTPHandler, handler_get),
    "xmlrpc.client": (xmlrpc_client.Transport, transport_get),
}


def use_again(namespace: str, name: str, again: Again) -> tuple[str, set[int]]:
    make, get = PAIRS[name]
    with sockets_of_the_broker() as made:
        answer = get(again(make(nsbroker.Namespace(namespace, mark=MARK))))
    return answer, {mark for _, mark in made}


@AGAIN
@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.usefixtures("web")
def test_copy_is_in_the_same_namespace(site: ExampleOrg, name: str, again: Again) -> None:
    """With the same options."""
    assert site.run(use_again, name, again) == (CLIENT, {MARK})
