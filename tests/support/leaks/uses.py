"""One use of each library: it connects, or sends something, to a host and a port, as its documentation shows.

A use imports its library itself, since the program has to say first where it belongs. Nothing answers. So a use ends by
an error, or after about a second, whichever way the library has. A use that gets an answer returns a text.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Any

Use = Callable[[str, int], Any] | Callable[[str, int], Awaitable[Any]]

TIMEOUT_S = 2
NAME = "www.example.org"
"""A name for the libraries that only ask name servers."""


# The standard library.


def http_client(host: str, port: int) -> None:
    import http.client

    http.client.HTTPConnection(host, port, timeout=TIMEOUT_S).request("GET", "/")


def urllib_request(host: str, port: int) -> None:
    import urllib.request

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    opener.open(f"http://{host}:{port}/", timeout=TIMEOUT_S)


def smtplib(host: str, port: int) -> None:
    import smtplib

    smtplib.SMTP(host, port, timeout=TIMEOUT_S)


def imaplib(host: str, port: int) -> None:
    import imaplib

    imaplib.IMAP4(host, port, timeout=TIMEOUT_S)


def ftplib(host: str, port: int) -> None:
    import ftplib

    ftplib.FTP(timeout=TIMEOUT_S).connect(host, port)


def xmlrpc(host: str, port: int) -> None:
    import xmlrpc.client

    xmlrpc.client.ServerProxy(f"http://{host}:{port}/").system.listMethods()


def logging_datagram(host: str, port: int) -> None:
    import logging.handlers

    handler = logging.handlers.SysLogHandler((host, port))
    handler.emit(logging.makeLogRecord({"msg": "x"}))


def logging_stream(host: str, port: int) -> None:
    import logging.handlers

    logging.handlers.SocketHandler(host, port).emit(logging.makeLogRecord({"msg": "x"}))


async def asyncio_stream(host: str, port: int) -> None:
    _, writer = await asyncio.open_connection(host, port)
    writer.close()


async def asyncio_datagram(host: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=(host, port))
    transport.sendto(b"x")
    transport.close()


async def asyncio_sock_connect(host: str, port: int) -> None:
    """With a socket that the program makes itself."""
    with socket.socket() as sock:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (host, port))


# The web.


def requests(host: str, port: int) -> None:
    import requests

    with requests.Session() as session:
        session.trust_env = False
        session.get(f"http://{host}:{port}/", timeout=TIMEOUT_S)


def urllib3(host: str, port: int) -> None:
    import urllib3

    urllib3.PoolManager().request("GET", f"http://{host}:{port}/", retries=False, timeout=TIMEOUT_S)


def niquests(host: str, port: int) -> None:
    import niquests

    with niquests.Session() as session:
        session.trust_env = False
        session.get(f"http://{host}:{port}/", timeout=TIMEOUT_S)


def httpx(host: str, port: int) -> None:
    import httpx

    with httpx.Client(trust_env=False, timeout=TIMEOUT_S) as client:
        client.get(f"http://{host}:{port}/")


async def httpx_async(host: str, port: int) -> None:
    import httpx

    async with httpx.AsyncClient(trust_env=False, timeout=TIMEOUT_S) as client:
        await client.get(f"http://{host}:{port}/")


async def aiohttp(host: str, port: int) -> None:
    import aiohttp

    connector = aiohttp.TCPConnector(resolver=aiohttp.ThreadedResolver())
    async with aiohttp.ClientSession(connector=connector) as session:
        await session.get(f"http://{host}:{port}/")


async def aiohttp_aiodns(host: str, port: int) -> None:
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=aiohttp.AsyncResolver())) as session:
        await session.get(f"http://{host}:{port}/")


async def tornado(host: str, port: int) -> None:
    from tornado.httpclient import AsyncHTTPClient

    await AsyncHTTPClient().fetch(f"http://{host}:{port}/", connect_timeout=TIMEOUT_S, request_timeout=TIMEOUT_S)


def pycurl(host: str, port: int) -> None:
    import pycurl

    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, f"http://{host}:{port}/")
    curl.setopt(pycurl.PROXY, "")
    curl.setopt(pycurl.TIMEOUT, TIMEOUT_S)
    curl.perform()


def curl_cffi(host: str, port: int) -> None:
    import curl_cffi

    curl_cffi.Session(trust_env=False).get(f"http://{host}:{port}/", timeout=TIMEOUT_S)


def boto3(host: str, port: int) -> None:
    import boto3
    import botocore.config

    config = botocore.config.Config(
        connect_timeout=TIMEOUT_S, read_timeout=TIMEOUT_S, retries={"max_attempts": 0}, proxies={}
    )
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "x"}
    boto3.client("s3", endpoint_url=f"http://{host}:{port}/", config=config, **keys).list_buckets()


def elasticsearch(host: str, port: int) -> None:
    import elasticsearch

    elasticsearch.Elasticsearch(f"http://{host}:{port}/", request_timeout=TIMEOUT_S, max_retries=0).info()


def prometheus_push(host: str, port: int) -> None:
    import prometheus_client

    prometheus_client.push_to_gateway(
        f"{host}:{port}", job="x", registry=prometheus_client.CollectorRegistry(), timeout=TIMEOUT_S,
        handler=_without_proxies,
    )  # fmt: skip


def _without_proxies(url: str, method: str, timeout: float, headers: list[tuple[str, str]], data: bytes) -> Any:
    import urllib.request

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return lambda: opener.open(urllib.request.Request(url, data, dict(headers), method=method), timeout=timeout)


def locust(host: str, port: int) -> None:
    from locust.clients import HttpSession
    from locust.event import EventHook

    session = HttpSession(f"http://{host}:{port}", EventHook(), user=None)
    session.trust_env = False
    session.request("GET", "/", timeout=TIMEOUT_S).raise_for_status()


def gevent(host: str, port: int) -> None:
    import gevent.socket

    gevent.socket.create_connection((host, port), timeout=TIMEOUT_S)


def websocket_client(host: str, port: int) -> None:
    import websocket

    websocket.create_connection(f"ws://{host}:{port}/", timeout=TIMEOUT_S, http_no_proxy=["*"])


def websockets_sync(host: str, port: int) -> None:
    import websockets.sync.client

    websockets.sync.client.connect(f"ws://{host}:{port}/", proxy=None, open_timeout=TIMEOUT_S)


async def websockets_async(host: str, port: int) -> None:
    import websockets

    await websockets.connect(f"ws://{host}:{port}/", proxy=None, open_timeout=TIMEOUT_S)


def twisted(host: str, port: int) -> None:
    from twisted.internet import endpoints, protocol, selectreactor

    reactor: Any = selectreactor.SelectReactor()
    done = endpoints.HostnameEndpoint(reactor, host.encode(), port, timeout=TIMEOUT_S).connect(
        protocol.Factory.forProtocol(protocol.Protocol)
    )
    done.addBoth(lambda _: reactor.callLater(0, reactor.stop))
    reactor.run(installSignalHandlers=False)


def uvloop(host: str, port: int) -> None:
    import uvloop

    async def connect() -> None:
        _, writer = await asyncio.open_connection(host, port)
        writer.close()

    uvloop.run(connect())


# Servers. They listen on a port of their own, and the use asks them itself: in the namespace, where else.


async def asyncio_server(host: str, port: int) -> str:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_ANSWER)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", port + 1000):
        return await _ask(port + 1000)


def http_server(host: str, port: int) -> str:
    import http.server
    import threading
    import urllib.request

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.wfile.write(_ANSWER)

    with http.server.HTTPServer(("127.0.0.1", port + 1000), Handler) as server:
        threading.Thread(target=server.handle_request).start()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        return str(opener.open(f"http://127.0.0.1:{port + 1000}/", timeout=TIMEOUT_S).read().decode())


async def uvicorn(host: str, port: int) -> str:
    import uvicorn

    config = uvicorn.Config(_application, "127.0.0.1", port + 1000, lifespan="off", log_config=None)
    return await _ask_beside(uvicorn.Server(config).serve(), port + 1000)


async def hypercorn(host: str, port: int) -> str:
    import hypercorn.asyncio
    import hypercorn.config

    config = hypercorn.config.Config()
    config.bind = [f"127.0.0.1:{port + 1000}"]
    return await _ask_beside(hypercorn.asyncio.serve(_application, config), port + 1000)  # type: ignore[arg-type]


async def aiohttp_server(host: str, port: int) -> str:
    import aiohttp.web

    async def answer(_: Any) -> aiohttp.web.Response:
        return aiohttp.web.Response(text="answered")

    application = aiohttp.web.Application()
    application.add_routes([aiohttp.web.get("/", answer)])
    runner = aiohttp.web.AppRunner(application)
    await runner.setup()
    await aiohttp.web.TCPSite(runner, "127.0.0.1", port + 1000).start()
    try:
        return await _ask(port + 1000)
    finally:
        await runner.cleanup()


async def tornado_server(host: str, port: int) -> str:
    import tornado.web

    class Handler(tornado.web.RequestHandler):
        def get(self) -> None:
            self.write("answered")

    server = tornado.web.Application([("/", Handler)]).listen(port + 1000, "127.0.0.1")
    try:
        return await _ask(port + 1000)
    finally:
        server.stop()


async def granian(host: str, port: int) -> str:
    from granian.constants import Interfaces
    from granian.server.embed import Server

    server = Server(_application, "127.0.0.1", port + 1000, interface=Interfaces.ASGI)
    return await _ask_beside(server.serve(), port + 1000)


_ANSWER = b"HTTP/1.0 200 OK\r\n\r\nanswered"


async def _application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"answered"})


async def _ask(port: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    answer = (await reader.read()).partition(b"\r\n\r\n")[2].decode()
    writer.close()
    return answer


async def _ask_beside(serve: Any, port: int) -> str:
    """Ask a server that runs beside. Raise its error if it ends, and return nothing if it does not listen in time."""
    serving = asyncio.ensure_future(serve)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            while not serving.done():
                with contextlib.suppress(ConnectionRefusedError):
                    return await _ask(port)
                await asyncio.sleep(0.01)  # It does not listen yet.
    except TimeoutError:
        return ""
    finally:
        serving.cancel()
    await serving
    return ""


# Databases and queues.


def redis(host: str, port: int) -> None:
    import redis
    import redis.backoff
    import redis.retry

    once = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
    redis.Redis(host, port, socket_timeout=TIMEOUT_S, retry=once).ping()


async def redis_async(host: str, port: int) -> None:
    import redis.asyncio
    import redis.asyncio.retry
    import redis.backoff

    once = redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0)
    await redis.asyncio.Redis(host=host, port=port, socket_timeout=TIMEOUT_S, retry=once).ping()


def pymysql(host: str, port: int) -> None:
    import pymysql

    pymysql.connect(host=host, port=port, user="x", connect_timeout=TIMEOUT_S, read_timeout=TIMEOUT_S)


def psycopg(host: str, port: int) -> None:
    import psycopg

    psycopg.connect(host=host, port=port, user="x", connect_timeout=TIMEOUT_S)


async def psycopg_async(host: str, port: int) -> None:
    import psycopg

    await psycopg.AsyncConnection.connect(host=host, port=port, user="x", connect_timeout=TIMEOUT_S)


async def asyncpg(host: str, port: int) -> None:
    import asyncpg

    await asyncpg.connect(host=host, port=port, user="x", database="x", timeout=TIMEOUT_S, ssl=False)


def pymongo(host: str, port: int) -> None:
    import pymongo

    milliseconds = TIMEOUT_S * 1000
    pymongo.MongoClient(host, port, serverSelectionTimeoutMS=milliseconds).admin.command("ping")


async def pymongo_async(host: str, port: int) -> None:
    import pymongo

    milliseconds = TIMEOUT_S * 1000
    async with pymongo.AsyncMongoClient(host, port, serverSelectionTimeoutMS=milliseconds) as client:
        await client.admin.command("ping")


def kafka_python(host: str, port: int) -> None:
    import kafka

    kafka.KafkaConsumer(bootstrap_servers=f"{host}:{port}", bootstrap_timeout_ms=TIMEOUT_S * 1000)


async def aiokafka(host: str, port: int) -> None:
    import aiokafka

    producer = aiokafka.AIOKafkaProducer(bootstrap_servers=f"{host}:{port}", request_timeout_ms=TIMEOUT_S * 1000)
    try:
        await producer.start()
    finally:
        await producer.stop()


def confluent_kafka(host: str, port: int) -> None:
    import confluent_kafka.admin

    options = {"bootstrap.servers": f"{host}:{port}", "socket.timeout.ms": TIMEOUT_S * 1000}
    confluent_kafka.admin.AdminClient(options).list_topics(timeout=TIMEOUT_S)


async def nats(host: str, port: int) -> None:
    import nats

    await nats.connect(f"nats://{host}:{port}", connect_timeout=TIMEOUT_S, allow_reconnect=False)


def paho(host: str, port: int) -> None:
    import paho.mqtt.client

    client = paho.mqtt.client.Client(paho.mqtt.client.CallbackAPIVersion.VERSION2)
    client.connect_timeout = TIMEOUT_S
    client.connect(host, port)


async def aiomqtt(host: str, port: int) -> None:
    import aiomqtt

    async with aiomqtt.Client(host, port, timeout=TIMEOUT_S):
        pass


def pyzmq(host: str, port: int) -> None:
    import zmq

    with zmq.Context() as context, context.socket(zmq.REQ) as sock:
        sock.linger = 0
        sock.connect(f"tcp://{host}:{port}")
        sock.send(b"x")
        sock.poll(TIMEOUT_S * 1000)


async def pyzmq_asyncio(host: str, port: int) -> None:
    import zmq.asyncio

    with zmq.asyncio.Context() as context, context.socket(zmq.REQ) as sock:
        sock.linger = 0
        sock.connect(f"tcp://{host}:{port}")
        await sock.send(b"x")
        await sock.poll(TIMEOUT_S * 1000)


def grpcio(host: str, port: int) -> None:
    import grpc

    with grpc.insecure_channel(f"{host}:{port}", [("grpc.enable_http_proxy", 0)]) as channel:
        grpc.channel_ready_future(channel).result(TIMEOUT_S)


async def grpcio_aio(host: str, port: int) -> None:
    import grpc.aio

    async with grpc.aio.insecure_channel(f"{host}:{port}", [("grpc.enable_http_proxy", 0)]) as channel:
        async with asyncio.timeout(TIMEOUT_S):
            await channel.channel_ready()


# Mail, directories, devices, shells.


async def aiosmtplib(host: str, port: int) -> None:
    import aiosmtplib

    await aiosmtplib.SMTP(hostname=host, port=port, timeout=TIMEOUT_S).connect()


def ldap3(host: str, port: int) -> None:
    import ldap3

    ldap3.Connection(ldap3.Server(host, port, connect_timeout=TIMEOUT_S), receive_timeout=TIMEOUT_S).bind()


def paramiko(host: str, port: int) -> None:
    import paramiko

    with paramiko.SSHClient() as client:
        client.connect(host, port, timeout=TIMEOUT_S, banner_timeout=TIMEOUT_S)


async def asyncssh(host: str, port: int) -> None:
    import asyncssh

    await asyncssh.connect(host, port, connect_timeout=TIMEOUT_S, config=None, known_hosts=None)


def netmiko(host: str, port: int) -> None:
    import netmiko

    netmiko.ConnectHandler(
        device_type="cisco_ios", host=host, port=port, username="x", password="x", conn_timeout=TIMEOUT_S
    )


def ncclient(host: str, port: int) -> None:
    import ncclient.manager

    ncclient.manager.connect(host=host, port=port, username="x", hostkey_verify=False, timeout=TIMEOUT_S)


def scrapli(host: str, port: int) -> None:
    import scrapli

    options = {"transport_options": scrapli.TransportBinOptions()} if hasattr(scrapli, "TransportBinOptions") else {}
    with scrapli.Cli(definition_file_or_name="cisco_iosxe", host=host, port=port, **options):
        pass


def pymodbus(host: str, port: int) -> None:
    import pymodbus.client

    pymodbus.client.ModbusTcpClient(host, port=port, timeout=TIMEOUT_S, retries=0).connect()


async def pymodbus_async(host: str, port: int) -> None:
    import pymodbus.client

    client = pymodbus.client.AsyncModbusTcpClient(host, port=port, timeout=TIMEOUT_S, retries=0, reconnect_delay=0)
    await client.connect()
    client.close()


async def pysnmp(host: str, port: int) -> None:
    from pysnmp.hlapi.v3arch.asyncio import (
        CommunityData,
        ContextData,
        ObjectIdentity,
        ObjectType,
        SnmpEngine,
        UdpTransportTarget,
        get_cmd,
    )

    target = await UdpTransportTarget.create((host, port), timeout=1, retries=0)
    await get_cmd(
        SnmpEngine(), CommunityData("x"), target, ContextData(), ObjectType(ObjectIdentity("1.3.6.1.2.1.1.1.0"))
    )


async def puresnmp(host: str, port: int) -> None:
    import puresnmp

    client = puresnmp.Client(host, puresnmp.V2C("x"), port=port)
    async with asyncio.timeout(TIMEOUT_S):
        await client.get(puresnmp.ObjectIdentifier("1.3.6.1.2.1.1.1.0"))


# Pings and look-ups. These get an answer.


def icmplib(host: str, port: int) -> str:
    import icmplib

    return "answered" if icmplib.ping(host, count=1, timeout=TIMEOUT_S, privileged=False).is_alive else ""


def ping3(host: str, port: int) -> str:
    import ping3

    ping3.EXCEPTIONS = True
    return "answered" if ping3.ping(host, timeout=TIMEOUT_S) is not None else ""


async def aioping(host: str, port: int) -> str:
    import aioping

    return "answered" if await aioping.ping(host, timeout=TIMEOUT_S) else ""


def dnspython(host: str, port: int) -> str:
    import dns.resolver

    [record] = dns.resolver.resolve(NAME, "A", lifetime=TIMEOUT_S)
    return str(record)


async def dnspython_async(host: str, port: int) -> str:
    import dns.asyncresolver

    [record] = await dns.asyncresolver.resolve(NAME, "A", lifetime=TIMEOUT_S)
    return str(record)


async def aiodns(host: str, port: int) -> str:
    import aiodns

    answer = await aiodns.DNSResolver(timeout=TIMEOUT_S, tries=1).query_dns(NAME, "A")
    return str(answer.answer[0].data.addr)


# Netlink: eth0 exists only inside.


def pyroute2(host: str, port: int) -> str:
    import pyroute2

    with pyroute2.IPRoute() as ipr:
        return "answered" if ipr.link_lookup(ifname="eth0") else ""


async def pyroute2_async(host: str, port: int) -> str:
    import pyroute2

    async with pyroute2.AsyncIPRoute() as ipr:
        return "answered" if await ipr.link_lookup(ifname="eth0") else ""


def pyroute2_diag(host: str, port: int) -> str:
    """The program's own namespace has listeners, the namespace has none."""
    import pyroute2

    with pyroute2.DiagSocket() as diag:
        return "" if diag.get_sock_stats(family=socket.AF_INET, states=1 << 10) else "answered"
