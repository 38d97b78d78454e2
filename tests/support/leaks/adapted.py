"""One use of each adapter, with the namespace as the first argument. See `uses`."""

from __future__ import annotations

from typing import Any

from .uses import NAME, TIMEOUT_S


def http_client(namespace: str, host: str, port: int) -> None:
    from nsbroker.adapters.http_client import HTTPConnection

    HTTPConnection(namespace, host, port, timeout=TIMEOUT_S).request("GET", "/")


def urllib_request(namespace: str, host: str, port: int) -> None:
    from nsbroker.adapters.urllib_request import build_opener

    build_opener(namespace).open(f"http://{host}:{port}/", timeout=TIMEOUT_S)


def smtplib(namespace: str, host: str, port: int) -> None:
    from nsbroker.adapters.smtplib import SMTP

    SMTP(namespace, host, port, timeout=TIMEOUT_S)


def imaplib(namespace: str, host: str, port: int) -> None:
    from nsbroker.adapters.imaplib import IMAP4

    IMAP4(namespace, host, port, timeout=TIMEOUT_S)


def ftplib(namespace: str, host: str, port: int) -> None:
    from nsbroker.adapters.ftplib import FTP

    FTP(namespace, timeout=TIMEOUT_S).connect(host, port)


def xmlrpc(namespace: str, host: str, port: int) -> None:
    import xmlrpc.client

    from nsbroker.adapters.xmlrpc_client import Transport

    xmlrpc.client.ServerProxy(f"http://{host}:{port}/", transport=Transport(namespace)).system.listMethods()


def logging_datagram(namespace: str, host: str, port: int) -> None:
    import logging

    from nsbroker.adapters.logging import SysLogHandler

    SysLogHandler(namespace, (host, port)).emit(logging.makeLogRecord({"msg": "x"}))


def logging_stream(namespace: str, host: str, port: int) -> None:
    import logging

    from nsbroker.adapters.logging import SocketHandler

    SocketHandler(namespace, host, port).emit(logging.makeLogRecord({"msg": "x"}))


async def asyncio_stream(namespace: str, host: str, port: int) -> None:
    from nsbroker.adapters.asyncio import open_connection

    _, writer = await open_connection(namespace, host, port)
    writer.close()


async def asyncio_datagram(namespace: str, host: str, port: int) -> None:
    import asyncio

    from nsbroker.adapters.asyncio import create_datagram_endpoint

    transport, _ = await create_datagram_endpoint(namespace, asyncio.DatagramProtocol, remote_addr=(host, port))
    transport.sendto(b"x")
    transport.close()


def trio(namespace: str, host: str, port: int) -> None:
    import trio

    from nsbroker.adapters.trio import install, open_tcp_stream

    async def connect() -> None:
        await (await open_tcp_stream(namespace, host, port)).aclose()

    trio.run(connect)

    async def connect_by_trio() -> None:
        install(namespace)
        await (await trio.open_tcp_stream(host, port)).aclose()

    trio.run(connect_by_trio)


def anyio(namespace: str, host: str, port: int) -> None:
    import anyio

    from nsbroker.adapters.anyio import connect_tcp

    async def connect() -> None:
        await (await connect_tcp(namespace, host, port)).aclose()

    for backend in ("asyncio", "trio"):
        anyio.run(connect, backend=backend)


def requests(namespace: str, host: str, port: int) -> None:
    from nsbroker.adapters.requests import Session

    with Session(namespace) as session:
        session.get(f"http://{host}:{port}/", timeout=TIMEOUT_S)


def urllib3(namespace: str, host: str, port: int) -> None:
    from nsbroker.adapters.urllib3 import PoolManager

    PoolManager(namespace).request("GET", f"http://{host}:{port}/", retries=False, timeout=TIMEOUT_S)


def httpx(namespace: str, host: str, port: int) -> None:
    import httpx

    from nsbroker.adapters.httpx import HTTPTransport

    with httpx.Client(transport=HTTPTransport(namespace), timeout=TIMEOUT_S) as client:
        client.get(f"http://{host}:{port}/")


async def httpx_async(namespace: str, host: str, port: int) -> None:
    import httpx

    from nsbroker.adapters.httpx import AsyncHTTPTransport

    async with httpx.AsyncClient(transport=AsyncHTTPTransport(namespace), timeout=TIMEOUT_S) as client:
        await client.get(f"http://{host}:{port}/")


def httpcore(namespace: str, host: str, port: int) -> None:
    import httpcore

    from nsbroker.adapters.httpcore import NetworkBackend

    with httpcore.ConnectionPool(network_backend=NetworkBackend(namespace)) as pool:
        pool.request("GET", f"http://{host}:{port}/")


async def aiohttp(namespace: str, host: str, port: int) -> None:
    import aiohttp

    from nsbroker.adapters.aiohttp import TCPConnector

    async with aiohttp.ClientSession(connector=TCPConnector(namespace)) as session:
        await session.get(f"http://{host}:{port}/")


def redis(namespace: str, host: str, port: int) -> None:
    import redis

    from nsbroker.adapters.redis import ConnectionPool

    pool = ConnectionPool(namespace, host=host, port=port, socket_connect_timeout=TIMEOUT_S, socket_timeout=TIMEOUT_S)
    redis.Redis(connection_pool=pool).ping()


async def redis_async(namespace: str, host: str, port: int) -> None:
    import redis.asyncio

    from nsbroker.adapters.redis_asyncio import ConnectionPool

    pool = ConnectionPool(namespace, host=host, port=port, socket_connect_timeout=TIMEOUT_S, socket_timeout=TIMEOUT_S)
    await redis.asyncio.Redis(connection_pool=pool).ping()


def paho(namespace: str, host: str, port: int) -> None:
    from paho.mqtt.enums import CallbackAPIVersion

    from nsbroker.adapters.paho import Client

    client = Client(namespace, CallbackAPIVersion.VERSION2)
    client.connect_timeout = TIMEOUT_S
    client.connect(host, port)
    client.loop(0)


async def aiomqtt(namespace: str, host: str, port: int) -> None:
    from nsbroker.adapters.aiomqtt import Client

    async with Client(namespace, host, port, timeout=TIMEOUT_S):
        pass


def boto3(namespace: str, host: str, port: int) -> None:
    from nsbroker.adapters.boto3 import Session

    session = Session(namespace, "x", "x", region_name="x")
    session.client("s3", endpoint_url=f"http://{host}:{port}/", config=_config()).list_buckets()


def botocore(namespace: str, host: str, port: int) -> None:
    from nsbroker.adapters.botocore import Session

    session = Session(namespace)
    session.set_credentials("x", "x")
    session.create_client("s3", "x", endpoint_url=f"http://{host}:{port}/", config=_config()).list_buckets()


def botocore_metadata(namespace: str, host: str, port: int) -> None:
    import os

    from nsbroker.adapters.botocore import Session

    os.environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = f"http://{host}:{port}/"
    Session(namespace).get_credentials()


def _config() -> Any:
    from botocore.config import Config

    return Config(connect_timeout=TIMEOUT_S, read_timeout=TIMEOUT_S, retries={"max_attempts": 0})


def twisted(namespace: str, host: str, port: int) -> None:
    from twisted.internet import protocol, selectreactor

    from nsbroker.adapters.twisted import HostnameEndpoint

    reactor: Any = selectreactor.SelectReactor()
    endpoint = HostnameEndpoint(namespace, reactor, host, port, timeout=TIMEOUT_S)
    done = endpoint.connect(protocol.Factory.forProtocol(protocol.Protocol))
    done.addBoth(lambda _: reactor.callLater(0, reactor.stop))
    reactor.run(installSignalHandlers=False)


def dnspython(namespace: str, host: str, port: int) -> str:
    from nsbroker.adapters.dnspython import Resolver

    [record] = Resolver(namespace).resolve(NAME, "A", lifetime=TIMEOUT_S)
    return str(record)


def scapy(namespace: str, host: str, port: int) -> str:
    from scapy.layers.inet import ICMP, IP

    from nsbroker.adapters.scapy import L3RawSocket

    with L3RawSocket(namespace, "eth0") as sock:
        return "answered" if sock.sr1(IP(dst="10.98.0.1") / ICMP(), timeout=TIMEOUT_S, verbose=0) else ""


def pyroute2(namespace: str, host: str, port: int) -> str:
    import pyroute2.common  # noqa: F401

    from nsbroker.adapters.pyroute2 import IPRoute

    with IPRoute(namespace) as ipr:
        return "answered" if ipr.link_lookup(ifname="eth0") else ""
