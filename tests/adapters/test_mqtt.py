"""paho-mqtt and aiomqtt in a namespace, with a real mosquitto."""

from __future__ import annotations

import asyncio
import queue
import socket
import ssl
import uuid
from collections.abc import Callable
from typing import Any

import aiomqtt
import paho.mqtt.client
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from nsbroker.adapters import aiomqtt as adapted_aiomqtt
from nsbroker.adapters import paho as adapted
from nsbroker.adapters.asyncio import loop_factory
from support.adapters.example_org import (
    CLIENT,
    CLOSED_PORT,
    SILENT_PORT,
    UNKNOWN,
    UNREACHABLE,
    UNTRUSTED,
    ExampleOrg,
)  # fmt: skip
from support.adapters.mqtt_server import (
    HOST,
    PORT,
    TLS_PORT,
    WEBSOCKETS_PORT,
    WEBSOCKETS_TLS_PORT,
    MqttServer,
)  # fmt: skip

LONG_S = 20
WAYS = {
    "tcp": (PORT, "tcp", False),
    "tls": (TLS_PORT, "tcp", True),
    "websockets": (WEBSOCKETS_PORT, "websockets", False),
    "websockets by tls": (WEBSOCKETS_TLS_PORT, "websockets", True),
}
EACH_WAY = pytest.mark.parametrize("way", WAYS)


@pytest.fixture
def client_id() -> str:
    return uuid.uuid4().hex


def make(namespace: str, way: str = "tcp", client_id: str = "") -> adapted.Client:
    _, transport, secure = WAYS[way]
    client = adapted.Client(namespace, CallbackAPIVersion.VERSION2, client_id, transport=transport)
    client.connect_timeout = LONG_S
    if secure:
        client.tls_set_context(ssl.create_default_context())
    return client


def exchange(namespace: str, way: str, client_id: str) -> str:
    """What the client itself published, as the server sends it back."""
    client = make(namespace, way, client_id)
    received: queue.Queue[str] = queue.Queue()
    client.on_connect = lambda client, *_: client.subscribe(client_id, qos=1)
    client.on_subscribe = lambda client, *_: client.publish(client_id, "hello", qos=1)
    client.on_message = lambda _, __, message: received.put(message.payload.decode())
    client.connect(HOST, WAYS[way][0])
    client.loop_start()
    try:
        return received.get(timeout=LONG_S)
    finally:
        client.disconnect()
        client.loop_stop()


@EACH_WAY
def test_connection_comes_from_the_namespace(site: ExampleOrg, mqtt: MqttServer, way: str, client_id: str) -> None:
    """And the threads of the client wake each other without a packet."""
    assert site.run(exchange, way, client_id) == "hello"
    assert mqtt.peers(client_id) == [CLIENT]


def be_thrown_out(namespace: str, client_id: str) -> None:
    """A second client with this id ends the connection of the first one, which comes back."""
    connected: queue.Queue[str] = queue.Queue()

    def start(name: str) -> paho.mqtt.client.Client:
        client = make(namespace, client_id=client_id)
        client.on_connect = lambda *_: connected.put(name)
        client.connect(HOST)
        client.loop_start()
        return client

    first = start("first")
    assert connected.get(timeout=LONG_S) == "first"
    second = start("second")
    assert connected.get(timeout=LONG_S) == "second"
    second.disconnect()
    second.loop_stop()
    assert connected.get(timeout=LONG_S) == "first"
    first.disconnect()
    first.loop_stop()


def test_reconnect_stays_inside(site: ExampleOrg, mqtt: MqttServer, client_id: str) -> None:
    site.run(be_thrown_out, client_id)
    peers = mqtt.peers(client_id)
    assert len(peers) >= 3
    assert set(peers) == {CLIENT}


def connect_by_service(namespace: str, way: str, client_id: str) -> tuple[str, int]:
    client = make(namespace, way, client_id)
    client.connect_srv("example.org")
    client.loop_start()
    try:
        return client.host, client.port
    finally:
        client.disconnect()
        client.loop_stop()


@pytest.mark.parametrize("way", ["tcp", "tls"])
@pytest.mark.usefixtures("mqtt")
def test_service_is_looked_up_inside(site: ExampleOrg, way: str, client_id: str) -> None:
    assert site.run(connect_by_service, way, client_id) == (HOST, WAYS[way][0])


def fail_by_service(namespace: str, domain: str | None) -> str:
    with pytest.raises(ValueError, match=r".") as raised:
        make(namespace).connect_srv(domain)
    return str(raised.value)


def test_service_without_a_domain_or_a_record_is_refused(site: ExampleOrg) -> None:
    """Without a domain, paho would look up that of this machine, outside."""
    assert "does not know the domain of the namespace: pass the domain" in site.run(fail_by_service, None)
    assert site.run(fail_by_service, "other.example.org") == "No answer/NXDOMAIN for SRV in other.example.org"


def fail(
    namespace: str, error: type[Exception], host: str, port: int, way: str = "tcp", limit_s: float = LONG_S
) -> str:
    client = make(namespace, way)
    client.connect_timeout = limit_s
    with pytest.raises(error) as raised:
        client.connect(host, port)
    return str(raised.value)


@pytest.mark.usefixtures("mqtt")
def test_errors_are_those_of_paho(site: ExampleOrg) -> None:
    site.run(fail, socket.gaierror, UNKNOWN, PORT)
    site.run(fail, ConnectionRefusedError, HOST, CLOSED_PORT)
    assert "certificate" in site.run(fail, ssl.SSLCertVerificationError, UNTRUSTED, TLS_PORT, "tls")
    site.run(fail, TimeoutError, UNREACHABLE, PORT, "tcp", 0.2)
    site.run(fail, TimeoutError, HOST, SILENT_PORT, "tls", 0.2)


def fail_elsewhere(_: str, namespace: str) -> str:
    return fail(namespace, PermissionError, HOST, PORT)


def test_namespace_that_the_policy_does_not_grant_is_an_error(site: ExampleOrg) -> None:
    assert "no grant" in site.run(fail_elsewhere, site.server)


PROXY = {"proxy_type": 3, "proxy_addr": "proxy.example.org", "proxy_port": 3128}
NO_PROXY = "can't use a proxy, since PySocks makes its own sockets; leave out the proxy"
NO_PATH = 'has no transport "unix", since a path is in no network namespace; use "tcp" or "websockets"'


def test_other_ways_out_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=NO_PROXY):
        make("blue").proxy_set(**PROXY)
    with pytest.raises(ValueError, match=NO_PATH):
        adapted.Client("blue", CallbackAPIVersion.VERSION2, transport="unix")


def test_client_is_not_made_anew_without_its_namespace() -> None:
    """Its namespace would come from another argument."""
    client = make("blue")
    own = client._namespace
    with pytest.raises(NotImplementedError, match="make another Client"):
        client.reinitialise("red")
    assert client._namespace is own


async def use_aiomqtt(namespace: str, way: str, client_id: str) -> str:
    port, transport, secure = WAYS[way]
    context = ssl.create_default_context() if secure else None
    options: dict[str, Any] = {"transport": transport, "tls_context": context, "identifier": client_id}
    async with adapted_aiomqtt.Client(namespace, HOST, port, timeout=LONG_S, **options) as client:
        await client.subscribe(client_id, qos=1)
        await client.publish(client_id, "hello", qos=1)
        async for message in client.messages:
            return str(message.payload.decode())  # type: ignore[union-attr]  # bytes were sent
    raise AssertionError


def in_plain_loop(namespace: str, way: str, client_id: str) -> str:
    return asyncio.run(use_aiomqtt(namespace, way, client_id))


def in_loop_of_the_namespace(namespace: str, way: str, client_id: str) -> str:
    with asyncio.Runner(loop_factory=loop_factory(namespace)) as runner:
        return runner.run(use_aiomqtt(namespace, way, client_id))


@EACH_WAY
@pytest.mark.parametrize("run", [in_plain_loop, in_loop_of_the_namespace])
def test_connection_of_aiomqtt_comes_from_the_namespace(
    site: ExampleOrg, mqtt: MqttServer, run: Callable[..., str], way: str, client_id: str
) -> None:
    assert site.run(run, way, client_id) == "hello"
    assert mqtt.peers(client_id) == [CLIENT]


def fail_by_aiomqtt(namespace: str, host: str, port: int) -> str:
    async def connect() -> str:
        with pytest.raises(aiomqtt.MqttError) as raised:
            async with adapted_aiomqtt.Client(namespace, host, port):
                pass
        return str(raised.value)

    return asyncio.run(connect())


def test_errors_are_those_of_aiomqtt(site: ExampleOrg) -> None:
    assert "refused" in site.run(fail_by_aiomqtt, HOST, CLOSED_PORT)
    assert "[Errno -2]" in site.run(fail_by_aiomqtt, UNKNOWN, PORT)


def test_other_ways_out_of_aiomqtt_are_refused_by_name() -> None:
    async def refuse() -> None:
        with pytest.raises(ValueError, match=NO_PROXY):
            adapted_aiomqtt.Client("blue", HOST, proxy=aiomqtt.ProxySettings(**PROXY))
        with pytest.raises(ValueError, match=NO_PATH):
            adapted_aiomqtt.Client("blue", HOST, transport="unix")

    asyncio.run(refuse())


def test_client_of_another_class_is_refused() -> None:
    """A later aiomqtt could bring its own, whose sockets are outside."""

    class Other(paho.mqtt.client.Client):
        pass

    with pytest.raises(ImportError, match=r"the MQTT client is a .*Other, whose sockets can't be kept in a namespace"):
        adapted.move(Other(CallbackAPIVersion.VERSION2), "blue")
