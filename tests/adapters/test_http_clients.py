"""Every HTTP client in a namespace: the source of its requests, its verification and its errors."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from support.adapters.example_org import (
    CLIENT,
    CLOSED_PORT,
    HOST,
    SERVER,
    SILENT_PORT,
    UNKNOWN,
    UNREACHABLE,
    UNTRUSTED,
    ExampleOrg,
)  # fmt: skip
from support.adapters.web_clients import HttpClient, Httpx, Requests, Urllib, Urllib3, WebClient
from support.adapters.web_clients_async import Aiohttp, HttpxAsync
from support.adapters.web_clients_twisted import Twisted
from support.adapters.web_server import PROXY_PORT, TWO_REQUESTS_PORT

GENEROUS_S = 20.0
SHORT_S = 0.2

pytestmark = pytest.mark.usefixtures("web")


def clients(those: Iterable[WebClient]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("client", those, ids=str)


ALL: list[WebClient] = [HttpClient(), Urllib(), Urllib3(), Requests(), Httpx()]
ALL += [HttpxAsync("asyncio"), HttpxAsync("trio"), Aiohttp(), Twisted()]

CLIENTS = clients(ALL)
FOLLOW_REDIRECTS = clients([client for client in ALL if client.follows_redirects])
KEEP_CONNECTIONS = clients([client for client in ALL if client.keeps_connections])


def get(
    namespace: str, client: WebClient, urls: Iterable[str], timeout_s: float = GENEROUS_S, proxy: str | None = None
) -> list[str]:
    return client.get(namespace, urls, timeout_s, proxy)


def fail(namespace: str, client: WebClient, error: type[BaseException], url: str, timeout_s: float = GENEROUS_S) -> str:
    with pytest.raises(error) as raised:
        client.get(namespace, [url], timeout_s, None)
    return repr(raised.value)


@CLIENTS
@pytest.mark.parametrize("place", [f"http://{HOST}", f"https://{HOST}", f"http://{SERVER}"])
def test_request_arrives_from_the_namespace(site: ExampleOrg, client: WebClient, place: str) -> None:
    """The name is that of the namespace, not the one outside, and TLS verifies it."""
    assert site.run(get, client, [f"{place}/peer"]) == [CLIENT]


@CLIENTS
def test_wrong_certificate_is_refused(site: ExampleOrg, client: WebClient) -> None:
    """The server is reached by a name that its certificate does not have."""
    assert client.certificate_text in site.run(fail, client, client.errors.certificate, f"https://{UNTRUSTED}/peer")


@FOLLOW_REDIRECTS
def test_redirect_stays_inside(site: ExampleOrg, client: WebClient) -> None:
    """From http to https, and to another name."""
    urls = [f"http://{HOST}/redirect", f"http://{HOST}/to-other"]
    assert site.run(get, client, urls) == [CLIENT, CLIENT]
    site.run(fail, client, client.errors.name, f"http://{HOST}/to-unknown")


@KEEP_CONNECTIONS
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_connection_is_kept_and_reused(site: ExampleOrg, client: WebClient, scheme: str) -> None:
    """Two requests on one connection."""
    assert len(set(site.run(get, client, [f"{scheme}://{HOST}/connection"] * 2))) == 1


@CLIENTS
def test_reconnect_stays_inside(site: ExampleOrg, client: WebClient) -> None:
    """The server ends each connection after two requests, and each new one comes from the namespace as well."""
    place = f"http://{HOST}:{TWO_REQUESTS_PORT}"
    answers = site.run(get, client, [f"{place}/peer", f"{place}/connection"] * 3)
    assert answers[::2] == [CLIENT] * 3
    assert len(set(answers[1::2])) == 3


def drop_and_go_on(namespace: str, client: WebClient) -> list[str]:
    def urls() -> Iterable[str]:
        yield f"http://{HOST}/peer"
        yield f"http://{HOST}/drop"

    with pytest.raises(client.errors.dropped):
        client.get(namespace, urls(), GENEROUS_S, None)
    return client.get(namespace, [f"http://{HOST}/peer"], GENEROUS_S, None)


@CLIENTS
def test_connection_that_the_server_drops_is_an_error(site: ExampleOrg, client: WebClient) -> None:
    """It is the usual one of the library, and the next request is answered."""
    assert site.run(drop_and_go_on, client) == [CLIENT]


@CLIENTS
def test_unknown_name_is_the_usual_error(site: ExampleOrg, client: WebClient) -> None:
    """No server outside is asked for a name that does not exist in the namespace."""
    site.run(fail, client, client.errors.name, f"http://{UNKNOWN}/")


@CLIENTS
def test_refusal_is_the_usual_error(site: ExampleOrg, client: WebClient) -> None:
    """The port is closed."""
    assert "refused" in site.run(fail, client, client.errors.refused, f"http://{HOST}:{CLOSED_PORT}/").lower()


@CLIENTS
def test_connecting_ends_by_its_timeout(site: ExampleOrg, client: WebClient) -> None:
    """No host answers at this address."""
    site.run(fail, client, client.errors.connect_timeout, f"http://{UNREACHABLE}/", SHORT_S)


@CLIENTS
def test_waiting_for_an_answer_ends_by_its_timeout(site: ExampleOrg, client: WebClient) -> None:
    """The server accepts and stays silent."""
    site.run(fail, client, client.errors.read_timeout, f"http://{HOST}:{SILENT_PORT}/", SHORT_S)


@CLIENTS
def test_proxy_is_reached_inside(site: ExampleOrg, client: WebClient) -> None:
    """A proxy that the program names is one of the namespace, unlike those of the environment."""
    answer = site.run(get, client, ["http://elsewhere.example/x"], GENEROUS_S, f"{HOST}:{PROXY_PORT}")
    assert answer == [f"{CLIENT} asks for http://elsewhere.example/x"]


def fail_elsewhere(_: str, namespace: str, client: WebClient) -> None:
    fail(namespace, client, client.errors.denied, f"http://{SERVER}/peer")


@CLIENTS
def test_socket_that_the_policy_does_not_grant_is_an_error_of_the_library(site: ExampleOrg, client: WebClient) -> None:
    """No request falls back to the program's own namespace."""
    site.run(fail_elsewhere, site.server, client)
