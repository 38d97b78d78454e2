"""`nsbroker.patch` moves a program's whole socket module into a namespace. Each program has a fresh interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from support.brokers.process import BrokerProcess
from support.namespaces import ip
from support.users import GROUP, USER, can_start_programs

PREPARE = """
import errno, sys
import nsbroker
namespace = sys.argv[1]
"""

LIBRARIES = """
nsbroker.patch(namespace)
import asyncio, http.client, http.server, socket, socketserver, ssl, threading, urllib.request, xmlrpc.client

assert socket.gethostbyname("localhost") == "127.0.0.1"
assert (socket.getservbyname("http"), socket.getservbyport(53, "udp")) == (80, "domain")
assert socket.getprotobyname("udp") == 17
assert "onlyhere0" in [name for _, name in socket.if_nameindex()]

class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *_): pass

with http.server.ThreadingHTTPServer(("10.77.0.1", 0), Answer) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    host, port = server.server_address
    assert urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://{host}:{port}/").read() == b"ok"
    connection = http.client.HTTPConnection(host, port)
    for _ in range(2):
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"ok"
    connection.close()

    async def fetch():
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET / HTTP/1.0\\r\\n\\r\\n")
        assert (await reader.read()).endswith(b"ok")
        writer.close()
        await writer.wait_closed()

    asyncio.run(fetch())
    server.shutdown()
with socket.create_server(("10.77.0.1", 80)) as low:
    assert isinstance(low, socket.socket)
near, far = socket.socketpair()
assert isinstance(near, socket.socket)
assert near.family == socket.AF_UNIX
near.close(), far.close()
try:
    socket.socket(socket.AF_CAN, socket.SOCK_RAW)
except OSError as error:
    assert error.errno == errno.EAFNOSUPPORT
else:
    raise AssertionError("a socket of another family was made")
print("done")
"""

CLASSES = """
import multiprocessing.reduction
nsbroker.patch(namespace)
import os, pickle, socket, tempfile, trio

class WithArgument(socket.socket):
    def __init__(self, argument):
        super().__init__()

with WithArgument("x") as listener:
    listener.bind(("10.77.0.1", 0))
    listener.listen()
    with socket.create_connection(listener.getsockname()) as near, listener.accept()[0] as far:
        assert type(near) is type(far) is type(near.dup()) is socket.socket
with socket.create_server(("10.77.0.1", 80)) as low:
    assert type(low) is socket.socket
    trio.socket.from_stdlib_socket(low)
with socket.socket(type=socket.SOCK_DGRAM) as sock:
    sock.bind(("10.77.0.1", 0))
    with pickle.loads(multiprocessing.reduction.ForkingPickler.dumps(sock)) as copy:
        assert (type(copy), copy.getsockname()) == (socket.socket, sock.getsockname())
path = os.path.join(tempfile.mkdtemp(), "socket")
with socket.create_server(path, family=socket.AF_UNIX, backlog=3) as local:
    assert (type(local), local.getsockname()) == (socket.socket, path)
    with socket.socket(socket.AF_UNIX) as near:
        near.connect(path)
        local.accept()[0].close()
for family in (socket.AF_UNIX, socket.AF_INET):
    try:
        socket.create_server(("10.77.0.1", 0), family=family, dualstack_ipv6=True)
    except ValueError as error:
        assert "dualstack_ipv6" in str(error)
    else:
        raise AssertionError("an option of IPv6 was ignored")
try:
    socket.socket("x")
except TypeError as error:
    print(error)
"""

UNDONE = """
import socket, ssl
before = dict(vars(socket)), ssl.SSLContext.sslsocket_class, list(sys.meta_path)
with nsbroker.patch(namespace):
    inside = socket.socket()
    try:
        nsbroker.patch("@host")
    except RuntimeError as error:
        assert "another patch" in str(error)
    else:
        raise AssertionError("two patches at once")
assert (dict(vars(socket)), ssl.SSLContext.sslsocket_class, list(sys.meta_path)) == before
with socket.socket() as outside:
    cookies = [int.from_bytes(sock.getsockopt(1, 71, 8), sys.byteorder) for sock in (inside, outside)]
assert cookies[0] != cookies[1]
inside.close()
print("done")
"""

REFUSED_LATER = """
nsbroker.patch(namespace)
try:
    import psycopg2
except ImportError as error:
    print(type(error).__name__, error)
"""

REFUSED_BEFORE = """
import types
import socket as module
early = types.ModuleType("early")
early.socket = module.socket
sys.modules["early"] = early
original = id(module.socket)
try:
    nsbroker.patch(namespace)
except nsbroker.PatchError as error:
    print(error)
assert id(module.socket) == original
"""


@pytest.fixture
def run(make_namespace: Callable[..., str], broker: BrokerProcess) -> Callable[[str], str]:
    """Run a program with the name of a namespace that has 10.77.0.1, and return its output."""
    name = make_namespace("patched")
    ip("-n", name, "link", "add", "onlyhere0", "type", "veth", "peer", "name", "onlyhere1")
    ip("-n", name, "address", "add", "10.77.0.1/32", "dev", "lo")

    def run_program(code: str) -> str:
        identity = {"user": USER, "group": GROUP, "extra_groups": []} if can_start_programs() else {}
        done = subprocess.run(
            [sys.executable, "-P", "-c", PREPARE + code, name],
            env={**os.environ, "NSBROKER_SOCKET": str(broker.socket_path)},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            **identity,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run_program


def test_untouched_libraries_stay_in_the_namespace(run: Callable[[str], str]) -> None:
    """Servers and clients of the standard library, sync and async: 10.77.0.1 is nowhere else."""
    assert run(LIBRARIES) == "done\n"


def test_sockets_are_of_the_class_that_they_have_without_a_patch(run: Callable[[str], str]) -> None:
    """Accepted ones are not of a subclass, and Unix sockets with a path are local."""
    assert run(CLASSES) == "'str' object cannot be interpreted as an integer\n"


def test_end_of_the_patch_puts_everything_back(run: Callable[[str], str]) -> None:
    assert run(UNDONE) == "done\n"


def test_library_that_connects_in_c_is_refused_when_it_gets_imported(run: Callable[[str], str]) -> None:
    told = run(REFUSED_LATER)
    assert told.startswith("PatchError psycopg2 connects by libpq")
    assert "nsbroker-get NS run" in told


def test_module_that_has_its_sockets_already_is_refused_and_nothing_is_patched(run: Callable[[str], str]) -> None:
    assert "early was imported before nsbroker.patch" in run(REFUSED_BEFORE)
