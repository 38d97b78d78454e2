"""Nothing leaves the namespace silently: each library, by each way in, arrives inside or is refused by name.

The host exists inside and in the program's own namespace: by its address, and by its name. Listeners for TCP and UDP
watch both places, and the own namespace counts every packet. A row that shows neither an arrival inside nor a refusal
fails as well, because it would prove nothing.

A plain run of the tests has the rows of the libraries that have adapters or recipes. `tests/run --guard` has all.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import pkgutil
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import nsbroker.adapters
from support import proxied
from support.adapters.example_org import HOST, SERVER, ExampleOrg
from support.adapters.outside import LeakError
from support.inside import call_inside
from support.leaks import adapted, uses
from support.leaks.listeners import Listeners
from support.namespaces import ip
from support.users import can_start_programs

ALL = os.environ.get("NSBROKER_GUARD")
"""The directory of niquests, which replaces urllib3, if all rows are tested."""

BY_ADDRESS, BY_NAME = 7001, 7002
"""The ports, so that each arrival shows its target."""


INSIDE = "inside"
"""The use arrives at the listener inside, or gets an answer that only the inside gives."""


def by_import(library: str) -> str:
    """A refusal of a library that connects by code of its own."""
    return rf"(PatchError|BypassError): {library} connects by .*, which .* can't reach: use "


def by_socket(library: str) -> str:
    """A refusal of a socket that a library made by itself."""
    return rf"\[Errno 18\] ({library} has a socket of|the socket is in another namespace than)"


NO_ANSWER = r"RuntimeError: Resolver requires aiodns library"
"""aiohttp's words for a refused import of aiodns."""
NO_LIBPQ = r"ImportError: no pq wrapper available(.|\n)*psycopg_c connects by libpq, which .* can't reach: use "

NAMES = [name for name, value in vars(uses).items() if inspect.isfunction(value) and value.__module__ == uses.__name__]
NAMES = [name for name in NAMES if not name.startswith("_")]
ADAPTERS = [name for name, value in vars(adapted).items() if inspect.isfunction(value) and not name.startswith("_")]

PATCH = dict.fromkeys(NAMES, INSIDE) | {
    "aiodns": by_import("pycares"),
    "aiohttp_aiodns": NO_ANSWER,
    "confluent_kafka": by_import("confluent_kafka"),
    "curl_cffi": by_import("curl_cffi"),
    "gevent": by_import("gevent"),
    "granian": by_import("granian"),
    "grpcio": by_import("grpc"),
    "grpcio_aio": by_import("grpc"),
    "locust": by_import("gevent"),
    "psycopg": NO_LIBPQ,
    "psycopg_async": NO_LIBPQ,
    "pycurl": by_import("pycurl"),
    "pyzmq": by_import("zmq"),
    "pyzmq_asyncio": by_import("zmq"),
    "scrapli": r"PatchError: .*libscrapli",
    "uvloop": by_import("uvloop"),
}
LOOP = dict.fromkeys((name for name in NAMES if inspect.iscoroutinefunction(getattr(uses, name))), INSIDE) | {
    "aiodns": by_import("pycares"),
    "aiohttp": by_socket("aiohttp"),
    "aiohttp_aiodns": NO_ANSWER,
    "aiomqtt": rf"{by_socket('aiomqtt')}|aiomqtt looks up .* by the C library, which .* can't reach: use ",
    "aioping": r"PermissionError: \[Errno 1\] Operation not permitted",
    "asyncio_sock_connect": by_socket("support"),
    "dnspython_async": r"dns reads /etc/resolv.conf by itself, which .* can't reach: use nsbroker.adapters.dnspython",
    "granian": by_import("granian"),
    "grpcio_aio": by_import("grpc"),
    "hypercorn": by_socket("hypercorn"),
    "psycopg_async": NO_LIBPQ,
    "pyroute2_async": by_socket("pyroute2"),
    "puresnmp": (INSIDE, r"puresnmp looks up .* by the C library, which .* can't reach: use a numeric address"),
    "pymongo_async": by_socket(r"\w+"),
    "pyzmq_asyncio": by_import("zmq"),
    "tornado": rf"{by_import('tornado')}|{by_socket('tornado')}",
    "tornado_server": rf"{by_import('tornado')}|{by_socket('tornado')}",
}
ADAPTER_OF = {
    "asyncio_datagram": "asyncio",
    "asyncio_stream": "asyncio",
    "botocore_metadata": "botocore",
    "httpx_async": "httpx",
    "logging_datagram": "logging",
    "logging_stream": "logging",
    "redis_async": "redis_asyncio",
    "xmlrpc": "xmlrpc_client",
}
"""The modules of the adapters whose rows have other names."""

ROWS = {
    "adapter": dict.fromkeys(ADAPTERS, INSIDE),
    "patch": PATCH,
    "loop": LOOP,
    "uvloop": LOOP | {"pyroute2_async": rf"{by_socket('pyroute2')}|ValueError: cannot open a UDP handle"},
    "run": dict.fromkeys(NAMES, INSIDE),
}
"""For each way in, the libraries and their outcomes. A pair is for the address and for the name."""

NEEDS_THE_GUARDS_LIBRARIES = frozenset({
    "aiodns", "aiohttp_aiodns", "aiokafka", "aioping", "aiosmtplib", "asyncpg", "confluent_kafka", "curl_cffi",
    "granian", "grpcio", "grpcio_aio", "icmplib", "kafka_python", "ldap3", "locust", "nats", "ncclient", "niquests",
    "ping3", "puresnmp", "pycurl", "pymodbus", "pymodbus_async", "pymongo", "pymongo_async", "pysnmp", "pyzmq",
    "pyzmq_asyncio", "scrapli", "tornado", "tornado_server", "websocket_client",
})  # fmt: skip
ENOUGH = {
    "run": (
        "asyncio_stream",
        "asyncio_datagram",
        "dnspython",
        "gevent",
        "http_client",
        "pyroute2",
        "twisted",
        "uvloop",
    ),
    "uvloop": ("asyncio_stream", "asyncio_datagram", "asyncio_server", "asyncio_sock_connect"),
}
"""The rows of these ways in a plain run of the tests: `run` does not care for libraries, and uvloop is like asyncio."""


def is_tested(way: str, name: str) -> bool:
    return bool(ALL) or (name not in NEEDS_THE_GUARDS_LIBRARIES and name in ENOUGH.get(way, ROWS[way]))


TESTED = [
    pytest.param(way, name, outcome, id=f"{name}-{way}")
    for way, rows in ROWS.items()
    for name, outcome in rows.items()
    if is_tested(way, name)
]


def admit_ping() -> None:
    Path("/proc/sys/net/ipv4/ping_group_range").write_text("0 0")


@pytest.fixture(scope="module")
def listeners(site: ExampleOrg) -> Iterator[tuple[Listeners, Listeners]]:
    """Listeners inside and outside, where the address of the server exists as well."""
    ip("-n", site.outside.name, "address", "add", f"{SERVER}/32", "dev", "lo")
    call_inside(site.client, admit_ping)
    made = [Listeners(name, (BY_ADDRESS, BY_NAME)) for name in (site.server, site.outside.name)]
    yield made[0], made[1]
    for each in made:
        each.close()
    ip("-n", site.outside.name, "address", "delete", f"{SERVER}/32", "dev", "lo")


def use(namespace: str, way: str, name: str, path: list[str]) -> list[tuple[str, str]]:
    """Run the program, and return the outcome for each target."""
    kept = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    environment = kept | {"PYTHONPATH": os.pathsep.join([*path, *filter(None, sys.path)])}
    python = [sys.executable, "-P"]
    prefix = [*python, "-m", "nsbroker.cli", namespace, "run", "--"] if way == "run" else []
    targets = [f"{SERVER}:{BY_ADDRESS}", f"{HOST}:{BY_NAME}"]
    command = [*prefix, *python, "-m", "support.leaks.program", way, namespace, name, *targets]
    done = subprocess.run(command, env=environment, cwd="/tmp", capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
    return [(error, text) for error, text in json.loads(done.stdout.splitlines()[-1])]


@pytest.mark.parametrize(("way", "name", "expected"), TESTED)
def test_library_is_inside_or_refused(
    site: ExampleOrg, listeners: tuple[Listeners, Listeners], way: str, name: str, expected: str | tuple[str, str]
) -> None:
    if not can_start_programs():
        pytest.skip("other users can't run this Python with this package")
    inside, outside = listeners
    inside.take_seen()
    outside.take_seen()
    # A LeakError, for packets outside, is raised here.
    outcomes = site.run(use, way, name, [str(ALL)] if name == "niquests" else [])
    seen = inside.take_seen()
    assert outside.take_seen() == set()
    wanted = (expected, expected) if isinstance(expected, str) else expected
    for (error, text), port, each in zip(outcomes, (BY_ADDRESS, BY_NAME), wanted, strict=True):
        arrived = port in seen or (not error and text in ("answered", SERVER))
        if each == INSIDE:
            assert arrived, text
        else:
            assert re.search(each, text), text
            assert not arrived


def use_proxy(namespace: str, protocol: str) -> None:
    """Reach both targets by a proxy at the path of a Unix socket, so that no packet is sent outside."""
    python = [sys.executable, "-P", "-m", "nsbroker.cli"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/proxy"
        command = [*python, namespace, "proxy", "-l", path]
        with subprocess.Popen(command, env=environment, cwd="/tmp", stdout=subprocess.PIPE, text=True) as proxy:
            try:
                assert proxy.stdout is not None
                assert proxy.stdout.readline() == f"{path}\n"
                for host, port in ((SERVER, BY_ADDRESS), (HOST, BY_NAME)):
                    with proxied.connect(path) as sock:
                        ask_proxy(sock, protocol, host, port)
            finally:
                proxy.terminate()


def ask_proxy(sock: socket.socket, protocol: str, host: str, port: int) -> None:
    if protocol == "socks5":
        assert proxied.socks(sock, host, port) == 0
    elif protocol == "connect":
        assert proxied.tunnel(sock, host, port) == 200
    else:
        sock.sendall(f"GET http://{host}:{port}/ HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    with contextlib.suppress(ConnectionError):
        assert proxied.to_the_end(sock) == b""


@pytest.mark.parametrize("protocol", ["socks5", "connect", "plain"])
def test_program_with_the_proxy_is_inside(
    site: ExampleOrg, listeners: tuple[Listeners, Listeners], protocol: str
) -> None:
    if not can_start_programs():
        pytest.skip("other users can't run this Python with this package")
    inside, outside = listeners
    inside.take_seen()
    outside.take_seen()
    site.run(use_proxy, protocol)
    assert (inside.take_seen(), outside.take_seen()) == ({BY_ADDRESS, BY_NAME}, set())


def test_every_library_has_a_row_for_every_way() -> None:
    """A use of a coroutine can also run in the loop."""
    assert set(PATCH) == set(ROWS["run"]) == set(NAMES)
    assert set(LOOP) <= set(NAMES)
    assert set(NAMES) >= NEEDS_THE_GUARDS_LIBRARIES


def test_every_adapter_has_a_row() -> None:
    modules = {module.name for module in pkgutil.iter_modules(nsbroker.adapters.__path__)}
    adapters = {name for name in modules if not name.startswith("_")}
    assert {ADAPTER_OF.get(name, name) for name in ADAPTERS} == adapters


def test_program_outside_is_seen(site: ExampleOrg, listeners: tuple[Listeners, Listeners]) -> None:
    """Without a way in, both targets are reached outside: by the address, and by the name."""
    inside, outside = listeners
    inside.take_seen()
    outside.take_seen()
    with pytest.raises(LeakError):
        site.run(use, "none", "asyncio_stream", [])
    assert outside.take_seen() == {BY_ADDRESS, BY_NAME}
    assert not inside.take_seen()
