"""`nsbroker-get NS run` with programs as they come from the distribution, and static ones. As an unprivileged user."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support import namespaces
from support.brokers.process import BrokerProcess
from support.checkout import TESTS
from support.inside import cookie_inside
from support.tool.running import Running, RunTool, program, python, run_tool
from support.users import GROUP, USER

SOURCES = TESTS / "support" / "programs"


@pytest.fixture
def name(make_namespace: Callable[..., str]) -> str:
    return make_namespace("prog")


@pytest.fixture
def run(broker: BrokerProcess, name: str) -> Iterator[RunTool]:
    with run_tool(broker) as tool:
        yield tool


@pytest.fixture
def place(open_directory: Path) -> Path:
    """A directory of the user's."""
    os.chown(open_directory, USER, GROUP)
    return open_directory


@contextmanager
def web_server(run: RunTool, name: str, directory: str) -> Iterator[str]:
    """Start Python's own server on a port of the kernel's choice, and return its URL."""
    server = run.start(
        name, "run", "--", python(), "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", directory
    )
    shown = server.read_until("...")
    port = re.search(r"port (\d+)", shown)
    assert port is not None, shown
    yield f"http://127.0.0.1:{port[1]}"
    server.send(15)
    assert server.finish().status == -15


def test_ip_shows_the_interfaces_of_the_namespace(run: RunTool, name: str) -> None:
    namespaces.ip("-n", name, "link", "add", "nsbt0", "type", "veth", "peer", "name", "nsbt1")
    namespaces.ip("-n", name, "address", "add", "192.0.2.1/24", "dev", "nsbt0")
    expected = namespaces.ip("-n", name, "-brief", "addr")
    assert "192.0.2.1/24" in expected
    assert run(name, "run", "--", program("ip"), "-brief", "addr") == (0, expected, "")


def test_ip_may_look_and_not_change(run: RunTool, name: str) -> None:
    """A netlink socket from the broker has the rights of its user."""
    done = run(name, "run", "--", program("ip"), "link", "set", "lo", "down")
    assert done.status == 2
    assert "Operation not permitted" in done.err


def test_curl_and_a_web_server(run: RunTool, name: str, place: Path) -> None:
    (place / "page").write_text("a page in the namespace\n")
    with web_server(run, name, str(place)) as url:
        assert run(name, "run", "--", program("curl"), "-sS", f"{url}/page") == (0, "a page in the namespace\n", "")
        outside = subprocess.run([program("curl"), "-sS", f"{url}/page"], capture_output=True, check=False)
        assert outside.returncode == 7, "it is not in the own namespace"


def test_git_over_http(run: RunTool, name: str, place: Path) -> None:
    git = program("git")
    repository = place / "source"
    who = ["-c", "user.name=tester", "-c", "user.email=tester@localhost"]
    for args in (
        ["init", "-q", str(repository)],
        ["-C", str(repository), *who, "commit", "-q", "--allow-empty", "-m", "the message"],
        ["-C", str(repository), "update-server-info"],
    ):
        subprocess.run([git, *args], check=True)
    with web_server(run, name, str(repository)) as url:
        done = run(name, "run", "--", git, "clone", "-q", f"{url}/.git", str(place / "clone"))
        assert (done.status, done.err) == (0, "")
    log = [git, "-c", "safe.directory=*", "-C", str(place / "clone"), "log", "--format=%s"]
    assert subprocess.check_output(log, text=True) == "the message\n"


THREADS = """
import socket, threading
COUNT = 200
listener = socket.create_server(("127.0.0.1", 0), backlog=COUNT)
address = listener.getsockname()
cookie = lambda sock: int.from_bytes(sock.getsockopt(1, 71, 8), "little")
all_connected = threading.Barrier(COUNT)
seen = []
def answer():
    held = [listener.accept()[0] for _ in range(COUNT)]
    for sock in held: sock.sendall(sock.recv(100)); sock.close()
def connect(number):
    with socket.create_connection(address) as sock:
        all_connected.wait()
        sock.sendall(b"%d" % number)
        seen.append((int(sock.makefile("rb").read()), cookie(sock)))
threads = [threading.Thread(target=answer)] + [threading.Thread(target=connect, args=(n,)) for n in range(COUNT)]
for t in threads: t.start()
for t in threads: t.join()
assert sorted(n for n, _ in seen) == list(range(COUNT)), seen
print({c for _, c in seen})
"""


def test_200_parallel_connections_of_threads(run: RunTool, name: str) -> None:
    """All open at the same time, each with its own answer."""
    assert run(name, "run", "--", python(), "-c", THREADS) == (0, f"{{{cookie_inside(name)}}}\n", "")


def test_static_program(run: RunTool, name: str, place: Path) -> None:
    """A static program has no dynamic loader for a preload, and its other ways to make sockets are closed."""
    binary = place / "static"
    source = SOURCES / "static.c"
    built = subprocess.run(
        [program("gcc"), "-static", "-O1", "-o", str(binary), str(source)], capture_output=True, text=True, check=False
    )
    if built.returncode != 0:
        pytest.skip(f"no static program can be built here: {built.stderr.splitlines()[-1]}")
    done = run(name, "run", "--", str(binary))
    assert (done.status, done.err) == (0, "")
    shown = json.loads(done.out)
    assert shown.pop("cookie") == cookie_inside(name)
    assert shown.pop("io_uring_setup") == 38
    if platform.machine() == "x86_64":
        # If a kernel lacks one of the two, all of its calls fail. Otherwise only these calls fail.
        assert shown.pop("x32 socket") == 38
        assert shown.pop("int80 socket") == 38
        assert shown.pop("int80 socketcall") == 38
        assert shown.pop("int80 getpid") in (0, 38)
        assert shown.pop("x32 ioctl") == 38
        assert shown.pop("int80 ioctl") == 38
    assert shown == {}


def test_static_go_program(run: RunTool, name: str, place: Path) -> None:
    """A server, and 50 clients of it at once, in one program that makes its system calls without a C library."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("there is no Go compiler")
    binary = place / "web"
    environment = {**os.environ, "CGO_ENABLED": "0", "GOCACHE": str(place / "cache"), "GO111MODULE": "off"}
    build = [go, "build", "-o", str(binary), str(SOURCES / "web.go")]
    subprocess.run(build, env=environment, check=True, timeout=300)
    done = run(name, "run", "--", str(binary))
    assert done == (0, "50 answers\n", ""), done


@pytest.mark.parametrize(
    ("sockets", "status"), [('"icmp", "raw:icmp", "udp"', 0), ('"udp"', 2)], ids=["granted", "not"]
)
def test_ping(start_broker: Callable[..., BrokerProcess], name: str, sockets: str, status: int) -> None:
    """It takes its source address from a UDP socket that it connects."""
    ping = program("ping")
    broker = start_broker(
        f'[[grant]]\nname = "some"\nusers = [{USER}]\nnamespaces = ["{name}"]\nsockets = [{sockets}]\n'
    )
    with run_tool(broker) as run:
        done = run(name, "run", "--", ping, "-4", "-c", "1", "127.0.0.1")
    assert done.status == status, done
    if status == 0:
        assert "1 received" in done.out
    else:
        assert f"nsbroker-get: grant 'some' allows no raw:icmp sockets in namespace '{name}'; " in done.err


DNS_SERVER = """
import socket
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("127.0.0.1", 0))
print(f"port {sock.getsockname()[1]}.", flush=True)
while True:
    query, peer = sock.recvfrom(512)
    end = query.index(b"\\0", 12) + 5
    answer = b"\\xc0\\x0c\\0\\x01\\0\\x01\\0\\0\\0\\x3c\\0\\x04" + socket.inet_aton("192.0.2.7")
    sock.sendto(query[:2] + b"\\x84\\0\\0\\x01\\0\\x01\\0\\0\\0\\0" + query[12:end] + answer, peer)
"""


def test_dig(run: RunTool, name: str) -> None:
    dig = program("dig")
    server = run.start(name, "run", "--", python(), "-c", DNS_SERVER)
    port = server.read_until(".").removeprefix("port ").rstrip(".\n")
    done = run(name, "run", "--", dig, "@127.0.0.1", "-p", port, "some.example", "A", "+short")
    assert done == (0, "192.0.2.7\n", "")


@pytest.mark.parametrize("direction", [[], ["-R"], ["--udp"]], ids=["there", "back", "udp"])
def test_iperf3(run: RunTool, name: str, direction: list[str]) -> None:
    iperf3 = program("iperf3")
    server = run.start(name, "run", "--", iperf3, "-s", "-1", "-p", "5201", "--forceflush")
    server.read_until("listening on 5201")
    done = run(name, "run", "--", iperf3, "-c", "127.0.0.1", "-n", "2M", "-b", "0", "--json", *direction)
    assert done.status == 0, done
    assert json.loads(done.out)["end"]["sum" if "--udp" in direction else "sum_sent"]["bytes"] >= 2 * 2**20
    assert server.finish().status == 0


NGINX = """
daemon off; worker_processes 2; pid {place}/pid; error_log {place}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off; client_body_temp_path {place}/body; proxy_temp_path {place}/proxy;
    fastcgi_temp_path {place}/fastcgi; uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;
    server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {upstream}; }} }}
}}
"""


def test_nginx_with_workers(run: RunTool, name: str, place: Path) -> None:
    """The master listens, and its workers connect to another server of the namespace."""
    nginx = program("nginx")
    (place / "page").write_text("passed on\n")
    with web_server(run, name, str(place)) as upstream:
        config = place / "nginx.conf"
        config.write_text(NGINX.format(place=place, port=8080, upstream=upstream))
        server = run.start(name, "run", "--", nginx, "-c", str(config), "-e", f"{place}/error.log")
        curl = ["-sS", "--retry", "20", "--retry-connrefused", "--retry-delay", "1", "http://127.0.0.1:8080/page"]
        assert _fetch(run, name, curl, server) == "passed on\n"
        server.send(15)
        assert server.finish().status == 0


def _fetch(run: RunTool, name: str, curl: list[str], server: Running) -> str:
    done = run(name, "run", "--", program("curl"), *curl)
    assert done.status == 0, (done.err, server)
    return done.out


NODE = """
const http = require("http");
const server = http.createServer((request, response) => response.end("from node\\n"));
server.listen(0, "127.0.0.1", () => {
  http.get({host: "127.0.0.1", port: server.address().port}, (response) => {
    response.on("data", (data) => process.stdout.write(data));
    response.on("end", () => server.close());
  });
});
"""


def test_node(run: RunTool, name: str) -> None:
    assert run(name, "run", "--", program("node"), "-e", NODE) == (0, "from node\n", "")


NODE_WORKERS = """
const cluster = require("cluster"), http = require("http");
if (cluster.isPrimary) {
  let left = 2;
  for (let i = 0; i < left; i++) cluster.fork();
  cluster.on("listening", (worker, address) => {
    http.get({host: "127.0.0.1", port: address.port, agent: false}, (response) => {
      response.resume();
      response.on("end", () => { if (--left == 0) { console.log("all answered"); process.exit(0); } });
    });
  });
} else {
  http.createServer((request, response) => response.end("x")).listen(0, "127.0.0.1");
}
"""


def test_node_with_workers(run: RunTool, name: str, place: Path) -> None:
    script = place / "workers.js"
    script.write_text(NODE_WORKERS)
    assert run(name, "run", "--", program("node"), str(script)) == (0, "all answered\n", "")
