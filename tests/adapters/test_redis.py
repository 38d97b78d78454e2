"""redis-py in a namespace, with a real redis-server."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from nsbroker.adapters.redis import ConnectionPool
from support.adapters import redis_server
from support.adapters.example_org import CLIENT, CLOSED_PORT, SILENT_PORT, UNKNOWN, UNREACHABLE, UNTRUSTED, ExampleOrg

HOST = "redis.example.org"
PLAIN = f"redis://{HOST}"
TLS = f"rediss://{HOST}:{redis_server.TLS_PORT}"


pytestmark = pytest.mark.usefixtures("redis_at_example_org")


def connect(namespace: str, url: str, **settings: Any) -> redis.Redis:
    if url.startswith("rediss:"):
        import ssl

        settings |= {"ssl_ca_certs": ssl.get_default_verify_paths().cafile, "ssl_check_hostname": True}
    return redis.Redis(connection_pool=ConnectionPool.from_url(namespace, url, **settings))


def peer(client: redis.Redis) -> str:
    information: Any = client.client_info()
    return str(information["addr"]).rpartition(":")[0]


def ask_for_peer(namespace: str, url: str) -> str:
    with connect(namespace, url) as client:
        return peer(client)


@pytest.mark.parametrize("url", [PLAIN, TLS])
def test_connection_comes_from_the_namespace(site: ExampleOrg, url: str) -> None:
    assert site.run(ask_for_peer, url) == CLIENT


def be_killed(namespace: str, url: str) -> tuple[int, int, str]:
    with connect(namespace, url, retry=Retry(NoBackoff(), 1)) as client:
        first = client.client_id()
        client.client_kill_filter(_id=first, skipme=False)
        return first, client.client_id(), peer(client)


@pytest.mark.parametrize("url", [PLAIN, TLS])
def test_reconnect_after_the_server_closed_stays_inside(site: ExampleOrg, url: str) -> None:
    first, second, address = site.run(be_killed, url)
    assert first != second
    assert address == CLIENT


def use_pool(namespace: str) -> set[str]:
    pool = ConnectionPool(namespace, host=HOST)
    clients = [redis.Redis(connection_pool=pool, single_connection_client=True) for _ in range(3)]
    found = {str(client.client_info()["addr"]) for client in clients}
    pool.disconnect()
    return found


def test_all_connections_of_a_pool_are_inside(site: ExampleOrg) -> None:
    found = site.run(use_pool)
    assert len(found) == 3
    assert {address.rpartition(":")[0] for address in found} == {CLIENT}


def fail(namespace: str, url: str, **settings: Any) -> str:
    settings = {"socket_timeout": 20, **settings, "retry": None, "retry_on_timeout": False}
    with connect(namespace, url, **settings) as client, pytest.raises(redis.RedisError) as raised:
        client.ping()
    return f"{type(raised.value).__name__}: {raised.value}"


def fail_soon(namespace: str, url: str) -> str:
    return fail(namespace, url, socket_timeout=0.2, socket_connect_timeout=0.2)


def test_errors_are_those_of_redis(site: ExampleOrg) -> None:
    """The errors are the usual ones for an unknown name, a closed port and a wrong certificate."""
    assert "ConnectionError: Error -2 " in site.run(fail, f"redis://{UNKNOWN}")
    assert "ConnectionError: Error 111 " in site.run(fail, f"redis://{HOST}:{CLOSED_PORT}")
    assert "certificate" in site.run(fail, f"rediss://{UNTRUSTED}:{redis_server.TLS_PORT}")


def test_timeouts_fire(site: ExampleOrg) -> None:
    """While connecting, and while waiting for an answer."""
    assert "TimeoutError" in site.run(fail_soon, f"redis://{UNREACHABLE}")
    assert "TimeoutError" in site.run(fail_soon, f"redis://{HOST}:{SILENT_PORT}")


@pytest.mark.parametrize("setting", ["ssl_validate_ocsp", "ssl_validate_ocsp_stapled"])
def test_what_would_connect_outside_is_refused(site: ExampleOrg, setting: str) -> None:
    """redis-py asks about certificates over connections of its own."""

    def try_it(namespace: str) -> None:
        with connect(namespace, TLS, **{setting: True}) as client, pytest.raises(ValueError, match="OCSP"):
            client.ping()

    site.run(try_it)


def test_other_kinds_of_connections_are_refused(site: ExampleOrg) -> None:
    """A Unix socket by its path is in no network namespace."""

    def try_it(namespace: str) -> None:
        with pytest.raises(TypeError, match="UnixDomainSocketConnection"):
            connect(namespace, "unix:///run/redis.sock")

    site.run(try_it)
