"""`nsbroker.patch` moves a program's whole socket module into a namespace. Each program has a fresh interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.brokers.process import BrokerProcess
from support.names.etc_netns import make_files, remove_files
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


CHILDREN = """
import concurrent.futures, multiprocessing, os

def interfaces(_=None):
    import socket
    found = [name for _, name in socket.if_nameindex()]
    with socket.socket() as sock:
        try:
            sock.bind(("10.99.99.99", 0))
            found.append("freebind")
        except OSError:
            pass
    return found

def put(queue):
    queue.put(interfaces())

if __name__ == "__main__":
    with nsbroker.patch(NAMED):
        for method in METHODS:
            context = multiprocessing.get_context(method)
            queue = context.Queue()
            process = context.Process(target=put, args=(queue,))
            process.start()
            found = queue.get(timeout=20)
            assert "onlyhere0" in found, method
            assert ("freebind" in found) == ("freebind" in '''NAMED'''), method
            process.join()
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
            assert "onlyhere0" in pool.submit(interfaces).result()
    with context.Pool(1) as pool:
        assert "onlyhere0" not in pool.map(interfaces, [0])[0]
    print("done")
"""

PATCHED_BY_ITS_MODULE = """
import multiprocessing, os
nsbroker.patch(NAMED)
import socket

def put(queue):
    queue.put([name for _, name in socket.if_nameindex()])

if __name__ == "__main__":
    for method in METHODS:
        context = multiprocessing.get_context(method)
        queue = context.Queue()
        process = context.Process(target=put, args=(queue,))
        process.start()
        assert "onlyhere0" in queue.get(timeout=20), method
        process.join()
    print("done")
"""

SERVICES = """
nsbroker.patch(namespace)
import socket
assert socket.getservbyname("http", "tcp") == 80
assert socket.getservbyport(443, "tcp") == "https"
assert socket.getprotobyname("tcp") == 6
assert socket.getaddrinfo("127.0.0.1", "http", type=socket.SOCK_STREAM)[0][4] == ("127.0.0.1", 80)
print("done")
"""

FILES = """
import builtins, io, os, pathlib, socket
own = pathlib.Path("/etc/hosts").read_bytes()
with nsbroker.patch(namespace):
    for path in ("/etc/resolv.conf", b"/etc/resolv.conf", pathlib.Path("/etc/resolv.conf")):
        with open(path) as file:
            assert file.name == path or file.name == str(path)
            assert file.read() == "nameserver 10.77.0.53\\n"
    with io.open("/etc/hosts", "rb") as file:
        assert file.readline() == b"10.77.0.1 onlyhere\\n"
    assert pathlib.Path("/etc/hosts").read_text().startswith("10.77.0.1 onlyhere\\n")
    assert socket.gethostbyname("onlyhere") == "10.77.0.1"
    assert len(socket.getaddrinfo("both", 80, type=socket.SOCK_STREAM)) == 2
    for around in (lambda: os.open("/etc/hosts", os.O_RDONLY), lambda: io.FileIO("/etc/resolv.conf")):
        try:
            around()
        except PermissionError as error:
            assert "reads /etc/" in str(error) and "nsbroker.patch can't reach" in str(error)
        else:
            raise AssertionError("the program's own file was read")
    try:
        open("/etc/hosts", "r+b").close()  # To write, it gets its own file.
    except OSError as error:
        assert "nsbroker" not in str(error)  # The kernel's, unless this program is root.
assert pathlib.Path("/etc/hosts").read_bytes() == own
assert builtins.open is io.open
print("done")
"""

BYPASSES = """
import _socket, socket
class Early(socket.socket):
    pass
uses = (
    lambda plain: plain.bind(("onlyhere", 0)),
    lambda plain: plain.connect(("onlyhere", 9)),
    lambda plain: plain.connect_ex(("onlyhere", 9)),
    lambda plain: plain.sendto(b"", ("onlyhere", 9)),
    lambda plain: plain.sendto(b"", 0, ("onlyhere", 9)),
    lambda plain: plain.sendmsg([b""], [], 0, ("onlyhere", 9)),
)
early = nsbroker.Client().open([nsbroker.SocketSpec(namespace, 2, 2)] * len(uses))
assert {type(sock) for sock in early} == {socket.socket}
patch = nsbroker.patch(namespace)
for use, sock in zip(uses, early):
    use(sock)
    sock.close()

for error_type, text, bypass in (
    (OSError, "makes a socket by __main__.Early", lambda: Early()),
    (OSError, "makes a socket by _socket.socket", lambda: _socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)),
    (OSError, "makes a socket by _socket.socket", lambda: socket.SocketType()),
    (socket.gaierror, "looks up 'name.example.org'", lambda: _socket.getaddrinfo("name.example.org", 80)),
    (socket.gaierror, "looks up 'name.example.org'", lambda: _socket.gethostbyname_ex("name.example.org")),
    (socket.gaierror, "looks up '10.77.0.1'", lambda: _socket.gethostbyaddr("10.77.0.1")),
    (socket.gaierror, "looks up", lambda: _socket.getnameinfo(("10.77.0.1", 80), 0)),
):
    try:
        bypass()
    except error_type as error:
        assert text in str(error), error
        assert "nsbroker.patch can't reach: use `nsbroker-get NS run` instead" in str(error), error
        assert "allow=['__main__']" in str(error), error
    else:
        raise AssertionError(text)
Early(fileno=socket.socket().detach()).close()
Early(socket.AF_UNIX).close()
assert _socket.getaddrinfo("127.1", 80) and _socket.getaddrinfo("::1", 80) and _socket.getaddrinfo(None, 80)
patch.undo()
Early().close()
with nsbroker.patch(namespace, allow=["__main__"]):
    Early().close()
print("done")
"""

INTERPRETERS = """
import importlib
patch = nsbroker.patch(namespace)
for module in ("_interpreters", "_xxsubinterpreters"):  # The first since Python 3.13.
    try:
        interpreters = importlib.import_module(module)
        break
    except ImportError:
        continue
try:
    interpreters.create()
except nsbroker.PatchError as error:
    print(error)
patch.undo()
interpreters.create()
"""


Run = Callable[[str], str]


@pytest.fixture
def run(make_namespace: Callable[..., str], broker: BrokerProcess, open_directory: Path) -> Iterator[Run]:
    """Run a program with the name of a namespace that has 10.77.0.1, and return its output."""
    name = make_namespace("patched")
    files = make_files(name)
    (files / "resolv.conf").write_text("nameserver 10.77.0.53\n")
    (files / "hosts").write_text("10.77.0.1 onlyhere\n10.77.0.1 both\nfd77::1 both\n")
    ip("-n", name, "link", "add", "onlyhere0", "type", "veth", "peer", "name", "onlyhere1")
    ip("-n", name, "address", "add", "10.77.0.1/32", "dev", "lo")

    def run_program(code: str) -> str:
        identity = {"user": USER, "group": GROUP, "extra_groups": []} if can_start_programs() else {}
        program = open_directory / "program.py"  # A file, since the children of multiprocessing import it.
        program.write_text(PREPARE + code)
        done = subprocess.run(
            [sys.executable, "-P", str(program), name],
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

    yield run_program
    remove_files(name)


def test_untouched_libraries_stay_in_the_namespace(run: Run) -> None:
    """Servers and clients of the standard library, sync and async: 10.77.0.1 is nowhere else."""
    assert run(LIBRARIES) == "done\n"


def test_sockets_are_of_the_class_that_they_have_without_a_patch(run: Run) -> None:
    """Accepted ones are not of a subclass, and Unix sockets with a path are local."""
    assert run(CLASSES) == "'str' object cannot be interpreted as an integer\n"


def test_end_of_the_patch_puts_everything_back(run: Run) -> None:
    assert run(UNDONE) == "done\n"


def test_library_that_connects_in_c_is_refused_when_it_gets_imported(run: Run) -> None:
    told = run(REFUSED_LATER)
    assert told.startswith("PatchError psycopg2 connects by libpq")
    assert "nsbroker-get NS run" in told


def test_module_that_has_its_sockets_already_is_refused_and_nothing_is_patched(run: Run) -> None:
    assert "early was imported before nsbroker.patch" in run(REFUSED_BEFORE)


@pytest.mark.parametrize(
    ("named", "methods"),
    [
        ("namespace", ("fork", "forkserver", "spawn")),
        ('"/run/netns/" + namespace', ("spawn",)),
        ('os.open("/run/netns/" + namespace, 0)', ("spawn",)),
        ("nsbroker.Namespace(namespace, freebind=True)", ("spawn",)),
    ],
    ids=["name", "path", "descriptor", "options"],
)
def test_children_of_multiprocessing_are_in_the_namespace(run: Run, named: str, methods: tuple[str, ...]) -> None:
    """However they start, and in pools of processes, until the end of the patch."""
    assert run(CHILDREN.replace("NAMED", named).replace("METHODS", repr(methods))) == "done\n"


@pytest.mark.parametrize("named", ["namespace", 'os.open("/run/netns/" + namespace, 0)'], ids=["name", "descriptor"])
def test_main_module_can_patch_although_each_child_runs_it_again(run: Run, named: str) -> None:
    methods = ("fork", "forkserver", "spawn")
    assert run(PATCHED_BY_ITS_MODULE.replace("NAMED", named).replace("METHODS", repr(methods))) == "done\n"


def test_services_and_protocols_are_known_to_a_program_that_patches_first(run: Run) -> None:
    """Before the look-ups of this package are loaded, which find services by the socket module, too."""
    assert run(SERVICES) == "done\n"


def test_resolver_files_have_the_text_of_the_namespace(run: Run) -> None:
    """Whichever way a program opens them, it never reads its own."""
    assert run(FILES) == "done\n"


def test_sockets_and_look_ups_beside_the_socket_module_are_refused(run: Run) -> None:
    """Classes that were derived before, and the module in C. A plain socket takes names of the namespace."""
    assert run(BYPASSES) == "done\n"


def test_other_interpreter_is_refused(run: Run) -> None:
    """It would have a socket module of its own."""
    assert "starts another interpreter, which nsbroker.patch can't reach" in run(INTERPRETERS)
