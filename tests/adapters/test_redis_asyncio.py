"""redis.asyncio in a namespace, with a real redis-server."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from nsbroker.adapters.redis_asyncio import ConnectionPool
from support.adapters import redis_server
from support.adapters.example_org import CLIENT, CLOSED_PORT, SILENT_PORT, UNKNOWN, UNREACHABLE, UNTRUSTED, ExampleOrg

HOST = "redis.example.org"
PLAIN = f"redis://{HOST}"
TLS = f"rediss://{HOST}:{redis_server.TLS_PORT}"

pytestmark = pytest.mark.usefixtures("redis_at_example_org")


def connect(namespace: str, url: str, **settings: Any) -> redis.asyncio.Redis:
    if url.startswith("rediss:"):
        settings |= {"ssl_ca_certs": ssl.get_default_verify_paths().cafile, "ssl_check_hostname": True}
    return redis.asyncio.Redis.from_pool(ConnectionPool.from_url(namespace, url, **settings))


async def peer(client: redis.asyncio.Redis) -> str:
    information: Any = await client.client_info()
    return str(information["addr"]).rpartition(":")[0]


def be_killed(namespace: str, url: str) -> list[str]:
    async def run() -> list[str]:
        async with connect(
            namespace, url, retry=Retry(NoBackoff(), 1), retry_on_error=[redis.ConnectionError]
        ) as client:
            before = await peer(client)
            await client.client_kill_filter(_id=await client.client_id(), skipme=False)
            return [before, await peer(client)]

    return asyncio.run(run())


@pytest.mark.parametrize("url", [PLAIN, TLS])
def test_connections_and_reconnects_come_from_the_namespace(site: ExampleOrg, url: str) -> None:
    """The second one is made after the server closed the first."""
    assert site.run(be_killed, url) == [CLIENT, CLIENT]


def fail(namespace: str, url: str, **settings: Any) -> str:
    async def run() -> str:
        async with connect(namespace, url, **{"socket_timeout": 20, "retry": None, **settings}) as client:
            with pytest.raises(redis.RedisError) as raised:
                await client.ping()
        return f"{type(raised.value).__name__}: {raised.value}"

    return asyncio.run(run())


def fail_soon(namespace: str, url: str) -> str:
    return fail(namespace, url, socket_timeout=0.2, socket_connect_timeout=0.2)


def test_errors_are_those_of_redis(site: ExampleOrg) -> None:
    """The errors are the usual ones for an unknown name, a closed port, a wrong certificate and a timeout."""
    assert "ConnectionError: Error -2 " in site.run(fail, f"redis://{UNKNOWN}")
    assert "ConnectionError: Error 111 " in site.run(fail, f"redis://{HOST}:{CLOSED_PORT}")
    assert f"Error 1 connecting to {UNTRUSTED}" in site.run(fail, f"rediss://{UNTRUSTED}:{redis_server.TLS_PORT}")
    assert "TimeoutError" in site.run(fail_soon, f"redis://{UNREACHABLE}")
    assert "TimeoutError" in site.run(fail_soon, f"redis://{HOST}:{SILENT_PORT}")


def test_other_kinds_of_connections_are_refused(site: ExampleOrg) -> None:
    """A Unix socket by its path is in no network namespace."""

    def try_it(namespace: str) -> None:
        with pytest.raises(TypeError, match="UnixDomainSocketConnection"):
            connect(namespace, "unix:///run/redis.sock")

    site.run(try_it)
